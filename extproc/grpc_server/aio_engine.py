"""The engine on grpc.aio, with public interfaces only: each stream is a coroutine."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from extproc.ext_proc.envoy import external_processor_pb2
from extproc.grpc_server.service_names import EXT_PROC_SERVICE, HEALTH_SERVICES, TARGET_METADATA
from extproc.grpc_server.transport import Transport
from extproc.request.answers import Answer
from extproc.request.pipeline import Pipeline
from extproc.request.stream import Stream

_log = structlog.get_logger(__name__)


class AioEngine:
    """Serves ``ExternalProcessor/Process`` over the given transport.

    ``pipeline`` is called once for each stream, so that a new configuration applies to new requests.
    """

    def __init__(self, *, transport: Transport, pipeline: Callable[[], Pipeline]) -> None:
        self._transport = transport
        self._pipeline = pipeline
        self._health = health_aio.HealthServicer()
        self._signed_streams: set[asyncio.Task[None]] = set()
        """Streams of signed requests that stay open for the upstream's response."""
        self._stopping = False
        self._server = grpc.aio.server(options=transport.options)
        # Messages stay bytes here: ``ext_proc.decoding`` is the one place that parses them.
        process = grpc.stream_stream_rpc_method_handler(self._process)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(EXT_PROC_SERVICE, {"Process": process}),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services = (EXT_PROC_SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        # Reflection finds the service's descriptor in the default pool, where this import put it.
        assert external_processor_pb2.DESCRIPTOR is not None  # noqa: S101
        reflection.enable_server_reflection((*services, reflection.SERVICE_NAME), self._server)
        self.ports = transport.bind(self._server.add_secure_port)

    async def start(self) -> None:
        """Listen; health says NOT_SERVING until ``set_serving``."""
        await self.set_serving(serving=False)
        await self._server.start()

    async def set_serving(self, *, serving: bool) -> None:
        """Report health to clients of the health service, such as Envoy."""
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in HEALTH_SERVICES:
            await self._health.set(service, status)

    async def failed(self) -> None:
        """Wait forever: this engine fails only with the event loop."""
        await asyncio.get_running_loop().create_future()

    async def stop(self, *, grace: float) -> None:
        """Report NOT_SERVING, let streams finish for at most ``grace`` seconds, close."""
        await self._health.enter_graceful_shutdown()
        self._stopping = True
        for task in list(self._signed_streams):
            task.cancel()
        await self._server.stop(grace)

    async def _process(self, _requests: Any, context: Any) -> None:
        """Serve one stream. It always ends with a last answer or a status that is not OK.

        It does not end before the first message: a client that is still writing would see a reset stream and
        no status.
        """
        refusal = grpc.StatusCode.ABORTED, "no answer"
        stream: Stream | None = None
        try:
            if not self._transport.admits(context.auth_context):
                refusal = grpc.StatusCode.PERMISSION_DENIED, "client not allowed"
                await context.read()
            else:
                message = await self._first_message(context)
                metadata = dict(context.invocation_metadata() or ())
                stream = Stream(self._pipeline(), target_name=metadata.get(TARGET_METADATA))
                if await self._answered(stream, message, context):
                    return
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the status must neither be OK nor give the cause
            _log.error("stream_failed", error=type(error).__name__)
        finally:
            if stream is not None:
                stream.close()
        await context.abort(*refusal)

    async def _first_message(self, context: Any) -> Any:
        try:
            return await context.read()
        except asyncio.CancelledError:
            Stream(self._pipeline(), target_name=None).close()  # counts it as abandoned
            raise

    async def _answered(self, stream: Stream, message: Any, context: Any) -> bool:
        """Answer messages; return whether the stream got its last answer, or needs none."""
        while message is not grpc.aio.EOF:
            answer = stream.receive(message)
            if not isinstance(answer, Answer):
                answer = await answer
            await context.write(answer.message)
            if answer.last:
                # No stream stays open for a long response of the upstream.
                return True
            if not answer.may_end:
                message = await context.read()
            elif self._stopping or (message := await self._while_running(context.read())) is None:
                return True
        return False

    async def _while_running(self, read: Awaitable[Any]) -> Any:
        """Return the client's next message, or None when the server stops first."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._signed_streams.add(task)
        try:
            return await read
        except asyncio.CancelledError:
            if not self._stopping:  # pragma: no cover - a client that leaves ends the read without it
                raise
            return None
        finally:
            self._signed_streams.discard(task)
