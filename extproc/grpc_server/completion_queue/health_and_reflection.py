"""Health and reflection, answered by grpcio's own servicers; a status for methods that do not exist."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from grpc._cython import cygrpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from extproc.grpc_server.completion_queue.calls import OK, Call, RefusedCall, Status
from extproc.grpc_server.service_names import EXT_PROC_SERVICE

_HEALTH = "/grpc.health.v1.Health/"
_REFLECTION = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"
_UNIMPLEMENTED: Status = (cygrpc.StatusCode.unimplemented, b"no such method")
_MALFORMED: Status = (cygrpc.StatusCode.invalid_argument, b"not a message of this method")
_STOPPING: Status = (cygrpc.StatusCode.unavailable, b"stopping")
_UNKNOWN_SERVICE: Status = (cygrpc.StatusCode.not_found, b"unknown service")
_MAX_UNSENT = 8  # changes of health; a watcher that takes none needs the latest only


class HealthAndReflection:
    """Answers all calls but those of the external processor."""

    def __init__(self) -> None:
        self.health = health.HealthServicer()
        names = (EXT_PROC_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        self._reflection = reflection.ReflectionServicer(names)
        self._watchers: set[WatchCall] = set()

    def begin(self, method: str, call: Any) -> None:
        """Answer a call of a method."""
        if method == f"{_HEALTH}Check":
            CheckCall(call, self.health).receive()
        elif method == f"{_HEALTH}Watch":
            WatchCall(call, self.health, self._watchers).receive()
        elif method == _REFLECTION:
            ReflectionCall(call, self._reflection).receive()
        else:
            RefusedCall(call, _UNIMPLEMENTED).receive()

    def stop(self) -> None:
        """Report NOT_SERVING for good, and end the calls of watchers once that is sent."""
        self.health.enter_graceful_shutdown()
        for watcher in tuple(self._watchers):
            watcher.stop()


class _ServicerContext:
    """The part of gRPC's context that the health servicer uses."""

    def __init__(self) -> None:
        self.code = grpc.StatusCode.OK
        self.at_end: list[Callable[[], None]] = []

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def add_callback(self, callback: Callable[[], None]) -> None:
        self.at_end.append(callback)


class ServicerCall(Call):
    """A call that a servicer of grpcio answers."""

    __slots__ = ("_servicer",)
    request: type[Message]

    def __init__(self, call: Any, servicer: Any) -> None:
        super().__init__(call)
        self._servicer = servicer

    def on_message(self, message: bytes) -> None:
        """Parse the request; end the call if it cannot be parsed."""
        try:
            request = self.request.FromString(message)
        except DecodeError:
            self.end(_MALFORMED)
        else:
            self.on_request(request)

    def on_request(self, request: Any) -> None:
        """Answer the request."""
        raise NotImplementedError


class CheckCall(ServicerCall):
    """One question about health."""

    __slots__ = ()
    request = health_pb2.HealthCheckRequest

    def on_request(self, request: Any) -> None:
        """Answer it."""
        context = _ServicerContext()
        response = self._servicer.Check(request, context)
        if context.code is grpc.StatusCode.OK:
            self.end(OK, response.SerializeToString())
        else:
            self.end(_UNKNOWN_SERVICE)


class ReflectionCall(ServicerCall):
    """Questions about services and messages, as many as the client has."""

    __slots__ = ()
    request = reflection_pb2.ServerReflectionRequest

    def on_request(self, request: Any) -> None:
        """Answer one, and receive the next."""
        (response,) = self._servicer.ServerReflectionInfo(iter((request,)), None)
        self.send(response.SerializeToString())

    def on_half_close(self) -> None:
        """End the call: the client has no more of them."""
        self.end(OK)


class WatchCall(ServicerCall):
    """Reports health as it changes, until the client goes or the server stops.

    The servicer calls ``_report`` from any thread, so what is unsent has a lock.
    """

    __slots__ = (
        "__weakref__",
        "_at_end",
        "_lock",
        "_sending",
        "_stopping",
        "_unsent",
        "_watchers",
    )
    request = health_pb2.HealthCheckRequest

    def __init__(self, call: Any, servicer: health.HealthServicer, watchers: set["WatchCall"]) -> None:
        super().__init__(call, servicer)
        self._watchers = watchers
        self._lock = threading.RLock()
        self._unsent: deque[bytes] = deque(maxlen=_MAX_UNSENT)
        self._sending = False
        self._stopping = False
        self._at_end: list[Callable[[], None]] = []

    def on_request(self, request: Any) -> None:
        """Begin to watch. The close of the call shows when the client has gone."""
        context = _ServicerContext()
        self._watchers.add(self)
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), self._closed)
        self._servicer.Watch(request, context, self._report)
        self._at_end = context.at_end

    def stop(self) -> None:
        """End the call once all is sent."""
        with self._lock:
            self._stopping = True
            self._send_next()

    def _report(self, response: Message | None) -> None:
        if response is not None:
            with self._lock:
                self._unsent.append(response.SerializeToString())
                self._send_next()

    def _sent(self, _event: Any) -> None:
        with self._lock:
            self._sending = False
            self._send_next()

    def _send_next(self) -> None:
        """One message at a time may be under way (gRPC core, GRPC_OP_SEND_MESSAGE)."""
        if self._sending or self._ended:
            return
        if self._unsent:
            self._sending = True
            self.send(self._unsent.popleft(), then=self._sent)
        elif self._stopping:
            self._ended = True
            status = cygrpc.SendStatusFromServerOperation(None, *_STOPPING, 0)
            self._call.start_server_batch((*self._initial, status), _nothing_left)

    def _closed(self, _event: Any) -> None:
        with self._lock:
            gone = not self._ended
            self._ended = True
        self._watchers.discard(self)
        for callback in self._at_end:
            callback()
        if gone:
            status = cygrpc.SendStatusFromServerOperation(None, *_STOPPING, 0)
            self._call.start_server_batch((*self._initial, status), _nothing_left)


def _nothing_left(_event: Any) -> None:
    """Do nothing: the status is sent."""
