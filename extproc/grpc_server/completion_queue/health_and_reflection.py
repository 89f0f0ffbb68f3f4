"""Health and reflection, whose logic is that of grpcio's own servicers, and what nobody offers."""

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
    """Makes the calls of everything but the external processor."""

    def __init__(self) -> None:
        self.health = health.HealthServicer()
        names = (EXT_PROC_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        self._reflection = reflection.ReflectionServicer(names)
        self._watchers: set[WatchCall] = set()

    def begin(self, method: str, call: Any) -> None:
        """Take up a call of a method."""
        if method == f"{_HEALTH}Check":
            CheckCall(call, self.health).receive()
        elif method == f"{_HEALTH}Watch":
            WatchCall(call, self.health, self._watchers).receive()
        elif method == _REFLECTION:
            ReflectionCall(call, self._reflection).receive()
        else:
            RefusedCall(call, _UNIMPLEMENTED).receive()

    def stop(self) -> None:
        """Say NOT_SERVING for good, and let watchers go after they were told."""
        self.health.enter_graceful_shutdown()
        for watcher in tuple(self._watchers):
            watcher.stop()


class _ServicerContext:
    """As much of gRPC's context as the health servicer asks for."""

    def __init__(self) -> None:
        self.code = grpc.StatusCode.OK
        self.at_end: list[Callable[[], None]] = []

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def add_callback(self, callback: Callable[[], None]) -> None:
        self.at_end.append(callback)


class CheckCall(Call):
    """One question about health."""

    __slots__ = ("_health",)

    def __init__(self, call: Any, servicer: health.HealthServicer) -> None:
        super().__init__(call)
        self._health = servicer

    def on_message(self, message: bytes) -> None:
        """Answer it."""
        request = _parsed(health_pb2.HealthCheckRequest, message)
        if request is None:
            self.end(_MALFORMED)
            return
        context = _ServicerContext()
        response = self._health.Check(request, context)
        if context.code is grpc.StatusCode.OK:
            self.end(OK, response.SerializeToString())
        else:
            self.end(_UNKNOWN_SERVICE)


class ReflectionCall(Call):
    """Questions about services and messages, as many as the client has."""

    __slots__ = ("_reflection",)

    def __init__(self, call: Any, servicer: reflection.ReflectionServicer) -> None:
        super().__init__(call)
        self._reflection = servicer

    def on_message(self, message: bytes) -> None:
        """Answer one."""
        request = _parsed(reflection_pb2.ServerReflectionRequest, message)
        if request is None:
            self.end(_MALFORMED)
            return
        (response,) = self._reflection.ServerReflectionInfo(iter((request,)), None)
        self.send(response.SerializeToString())

    def on_half_close(self) -> None:
        """The client has no more of them."""
        self.end(OK)


class WatchCall(Call):
    """Health as it changes, until the client goes or we stop. Told from any thread."""

    __slots__ = (
        "__weakref__",
        "_at_end",
        "_health",
        "_lock",
        "_sending",
        "_stopping",
        "_unsent",
        "_watchers",
    )

    def __init__(self, call: Any, servicer: health.HealthServicer, watchers: set["WatchCall"]) -> None:
        super().__init__(call)
        self._health = servicer
        self._watchers = watchers
        self._lock = threading.RLock()
        self._unsent: deque[bytes] = deque(maxlen=_MAX_UNSENT)
        self._sending = False
        self._stopping = False
        self._at_end: list[Callable[[], None]] = []

    def on_message(self, message: bytes) -> None:
        """Begin to watch; gone clients are noticed by the close."""
        request = _parsed(health_pb2.HealthCheckRequest, message)
        if request is None:
            self.end(_MALFORMED)
            return
        context = _ServicerContext()
        self._watchers.add(self)
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), self._closed)
        self._health.Watch(request, context, self._tell)
        self._at_end = context.at_end

    def stop(self) -> None:
        """End the call once all is sent."""
        with self._lock:
            self._stopping = True
            self._send_next()

    def _tell(self, response: Message | None) -> None:
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
            self._call.start_server_batch((*self._initial(), status), _nothing_left)

    def _closed(self, _event: Any) -> None:
        with self._lock:
            gone = not self._ended
            self._ended = True
        self._watchers.discard(self)
        for callback in self._at_end:
            callback()
        if gone:
            status = cygrpc.SendStatusFromServerOperation(None, *_STOPPING, 0)
            self._call.start_server_batch((*self._initial(), status), _nothing_left)


def _nothing_left(_event: Any) -> None:
    """The status is sent."""


def _parsed(kind: type[Message], message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        return None
