"""The server: one thread takes gRPC's events, and answers requests of known sessions by itself.

What must be waited for (verification, decisions, exchanges, large bodies) goes to the event loop, which sends
the answer itself: gRPC's core takes operations from any thread.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import structlog
from grpc._cython import cygrpc
from grpc_health.v1 import health_pb2

from extproc.ext_proc.envoy import external_processor_pb2
from extproc.grpc_server.completion_queue.calls import (
    NO_ANSWER,
    ProcessCall,
    RefusedCall,
    SignedCalls,
    Status,
)
from extproc.grpc_server.completion_queue.health_and_reflection import HealthAndReflection
from extproc.grpc_server.service_names import EXT_PROC_SERVICE, HEALTH_SERVICES, TARGET_METADATA
from extproc.grpc_server.transport import Transport
from extproc.request.answers import Answer
from extproc.request.pipeline import Pipeline
from extproc.request.stream import Stream

_PROCESS = f"/{EXT_PROC_SERVICE}/Process"
_NOT_ALLOWED: Status = (cygrpc.StatusCode.permission_denied, b"client not allowed")
_CALLS_ASKED_FOR = 16
"""New calls of ``Process``, and of all else, that gRPC may deliver at a time;
for each that comes, another is requested."""

_CANCEL_TIMEOUT = 5.0  # seconds in which cancelled calls must end

_log = structlog.get_logger(__name__)


class CompletionQueueEngine:
    """Serves ``ExternalProcessor/Process`` over the given transport.

    ``pipeline`` is called once for each stream, so that a new configuration applies to new requests.
    """

    def __init__(self, *, transport: Transport, pipeline: Callable[[], Pipeline]) -> None:
        self._transport = transport
        self._pipeline = pipeline
        self._health_and_reflection = HealthAndReflection()
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(transport.options, False)  # noqa: FBT003 - without xDS
        self._server.register_completion_queue(self._queue)
        self._server.register_method(_PROCESS)
        # gRPC itself finds the name of a registered method, and no object is made of it for each stream.
        self._next_process = partial(
            self._server.request_registered_call, self._queue, self._queue, _PROCESS, self._begin_process
        )
        self._next_other = partial(self._server.request_call, self._queue, self._queue, self._begin_other)
        self.ports = transport.bind(self._add_port)
        # Reflection finds the service's descriptor in the default pool, where this import put it.
        assert external_processor_pb2.DESCRIPTOR is not None  # noqa: S101
        self._poller = threading.Thread(target=self._poll, name="grpc", daemon=True)
        self._signed_calls = SignedCalls()
        self._waiting: dict[ProcessCall, asyncio.Task[None]] = {}
        # Not ``is_alive``: the thread lives on for a moment after it has failed.
        self._polling = False
        self._stopping = False
        self._calls_ended, self._hurry = asyncio.Event(), asyncio.Event()
        self._stopped = asyncio.Event()
        self._failed = asyncio.Event()

    async def start(self) -> None:
        """Listen; health says NOT_SERVING until ``set_serving``."""
        self._loop = asyncio.get_running_loop()
        await self.set_serving(serving=False)
        self._server.start()
        for _ in range(_CALLS_ASKED_FOR):
            self._request(self._next_process)
            self._request(self._next_other)
        self._polling = True
        self._poller.start()

    async def set_serving(self, *, serving: bool) -> None:
        """Report health to clients of the health service, such as Envoy."""
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in HEALTH_SERVICES:
            self._health_and_reflection.health.set(service, status)

    async def failed(self) -> None:
        """Return when the polling thread has ended by itself."""
        await self._failed.wait()

    async def stop(self, *, grace: float) -> None:
        """Report NOT_SERVING, let streams finish for at most ``grace`` seconds, close.

        A second call cancels the streams that are left.
        """
        if self._stopping:
            self._hurry.set()
            await self._stopped.wait()
            return
        self._stopping = True
        self._health_and_reflection.stop()
        if not self._polling:  # no thread would take the events of a shutdown
            self._stopped.set()
            return
        self._server.shutdown(self._queue, self._on_shutdown)
        self._signed_calls.end_all()
        try:
            await asyncio.wait_for(self._ended_or_hurried(), grace)
        except TimeoutError:
            self._hurry.set()
        if self._hurry.is_set() and not self._calls_ended.is_set():
            self._server.cancel_all_calls()
            for task in self._waiting.values():
                task.cancel()
            await asyncio.wait_for(self._calls_ended.wait(), _CANCEL_TIMEOUT)
        # In the thread that cancels, too: a destroyed server must not get ``cancel_all_calls``.
        self._server.destroy()
        self._queue.shutdown()
        await asyncio.to_thread(self._poller.join)
        self._stopped.set()

    async def _ended_or_hurried(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._calls_ended, self._hurry)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _add_port(self, address: str, credentials: grpc.ServerCredentials) -> int:
        port: int = self._server.add_http2_port(address.encode(), credentials._credentials)  # noqa: SLF001
        if port == 0:
            raise RuntimeError(address)
        return port

    def _poll(self) -> None:
        try:
            while (event := self._queue.poll()).completion_type != cygrpc.CompletionType.queue_shutdown:
                try:
                    event.tag(event)
                except Exception as error:  # noqa: BLE001 - one call must not end all others
                    _log.error("event_failed", error=type(error).__name__)
                # Held during the next poll, it would keep its call from being freed.
                del event
        except BaseException as error:  # noqa: BLE001 - the thread must not end without a log line
            _log.critical("engine_failed", error=type(error).__name__)
        finally:
            self._polling = False
            if not self._stopping:
                self._in_loop(self._failed.set)

    def _request(self, next_call: Callable[[], object]) -> None:
        try:
            next_call()
        except ValueError:
            if not self._stopping:
                raise

    def _begin_other(self, event: Any) -> None:
        if event.success:  # else it is stopping
            self._request(self._next_other)
            self._health_and_reflection.begin(event.call_details.method.decode("latin-1"), event.call)

    def _begin_process(self, event: Any) -> None:
        if not event.success:
            return  # stopping
        self._request(self._next_process)
        if not self._transport.admits(partial(_peer, event.call)):
            RefusedCall(event.call, _NOT_ALLOWED).receive()
            return
        target_name = None
        for name, value in event.invocation_metadata:
            if name == TARGET_METADATA:
                target_name = value
        try:
            stream = Stream(self._pipeline(), target_name=target_name)
        except Exception as error:  # noqa: BLE001 - the status must neither be OK nor give the cause
            _log.error("stream_failed", error=type(error).__name__)
            RefusedCall(event.call, NO_ANSWER).receive()
            return
        ProcessCall(event.call, stream, self._answer_later, self._stop_waiting, self._signed_calls).receive()

    def _answer_later(self, call: ProcessCall, step: Awaitable[Answer]) -> None:
        self._loop.call_soon_threadsafe(self._spawn, call, step)

    def _spawn(self, call: ProcessCall, step: Awaitable[Answer]) -> None:
        task = self._loop.create_task(_finish(call, step))
        self._waiting[call] = task
        task.add_done_callback(lambda done: self._forget(call, step, done))

    def _forget(self, call: ProcessCall, step: Awaitable[Answer], task: asyncio.Task[None]) -> None:
        if self._waiting.get(call) is task:  # pragma: no branch - or the call's next message waits already
            del self._waiting[call]
        if task.cancelled():
            call.end(NO_ANSWER)  # a task cancelled before its first step cannot do so itself
            if asyncio.iscoroutine(step):  # pragma: no branch - as every step is
                step.close()

    def _stop_waiting(self, call: ProcessCall) -> None:
        self._in_loop(lambda: self._cancel(call))

    def _cancel(self, call: ProcessCall) -> None:
        """Cancel the wait of a stream that Envoy reset. Work that others may share goes on, shielded."""
        task = self._waiting.get(call)
        if task is not None:
            task.cancel()

    def _on_shutdown(self, _event: Any) -> None:
        """Let go of all calls: no connection is left, so none of them gets an answer any more.

        Their last events may still come. They must not begin another operation: gRPC's core ends the process
        if that happens after ``stop`` has shut the queue down.
        """
        self._in_loop(self._end_calls)
        while (event := self._queue.poll()).completion_type != cygrpc.CompletionType.queue_shutdown:
            call = getattr(event.tag, "__self__", None)
            if isinstance(call, ProcessCall):
                self._in_loop(partial(self._let_go, call))
            del event, call

    def _end_calls(self) -> None:
        for call in list(self._waiting):
            self._let_go(call)
        self._calls_ended.set()

    def _let_go(self, call: ProcessCall) -> None:
        """Release what a call holds whose connection is closed."""
        self._cancel(call)
        call.let_go()

    def _in_loop(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(callback)


async def _finish(call: ProcessCall, step: Awaitable[Answer]) -> None:
    try:
        call.answer(await step)
    except asyncio.CancelledError:
        call.end(NO_ANSWER)
        raise
    except Exception as error:  # noqa: BLE001 - the status must neither be OK nor give the cause
        _log.error("stream_failed", error=type(error).__name__)
        call.end(NO_ANSWER)


def _peer(call: Any) -> dict[str, Any]:
    """Return the client's verified identity, keyed as in grpcio's public interfaces."""
    return {key.decode(): values for key, values in cygrpc.auth_context(call).items()}
