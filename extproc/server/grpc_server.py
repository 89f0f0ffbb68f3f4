"""The gRPC server: carries streams between Envoy and ``Stream``; health and reflection beside it."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import structlog
from envoy.service.ext_proc.v3 import external_processor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from extproc.pipeline import Pipeline
from extproc.server.stream import Answer, Stream

EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
TARGET_METADATA = "x-extproc-target"
_HEALTH_SERVICES = ("", EXT_PROC_SERVICE)
_HEADROOM = 1024 * 1024  # for the message around a body
_MAX_METADATA_BYTES = 128 * 1024

_log = structlog.get_logger(__name__)


class GrpcServer:
    """Serves ``ExternalProcessor/Process`` on the given addresses.

    ``pipeline`` is asked once a stream, so that a new configuration applies to new requests.
    ``shares_port``: other workers listen there too, and the kernel spreads connections.
    """

    def __init__(
        self,
        *,
        addresses: list[str],
        pipeline: Callable[[], Pipeline],
        max_body_bytes: int,
        shares_port: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_body_bytes + _HEADROOM),
                ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
                # Unless workers share the port on purpose, a second server on it must fail.
                ("grpc.so_reuseport", int(shares_port)),
            ]
        )
        # Messages stay bytes here: server.codec is the one place that parses them.
        process = grpc.stream_stream_rpc_method_handler(self._process)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(EXT_PROC_SERVICE, {"Process": process}),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        services = (EXT_PROC_SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        # The descriptor of our service is found in the default pool, where this import put it.
        assert external_processor_pb2.DESCRIPTOR is not None  # noqa: S101
        reflection.enable_server_reflection((*services, reflection.SERVICE_NAME), self._server)
        self.ports = [self._listen(address) for address in addresses]

    def _listen(self, address: str) -> int:
        try:
            port: int = self._server.add_insecure_port(address)
        except RuntimeError:
            raise OSError(f"listen.grpc {address}: cannot listen there; does another process?") from None
        return port

    async def start(self) -> None:
        """Listen; health stays NOT_SERVING until ``serving``."""
        await self.set_serving(serving=False)
        await self._server.start()

    async def set_serving(self, *, serving: bool) -> None:
        """Tell the health service's clients, Envoy among them."""
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in _HEALTH_SERVICES:
            await self._health.set(service, status)

    async def stop(self, *, grace: float) -> None:
        """Report NOT_SERVING, let streams finish for at most ``grace`` seconds, close."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    async def _process(self, _requests: Any, context: Any) -> None:
        """One stream. Every way out is a last answer or a status that is not OK."""
        try:
            metadata = dict(context.invocation_metadata() or ())
            stream = Stream(self._pipeline(), target_name=metadata.get(TARGET_METADATA))
            while (message := await context.read()) is not grpc.aio.EOF:
                answer = stream.receive(message)
                if not isinstance(answer, Answer):
                    answer = await answer
                await context.write(answer.message)
                if answer.last:
                    # Leaving now keeps no stream open during a long response of the upstream.
                    return
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the status must not be OK, and must not tell why
            _log.error("stream_failed", error=type(error).__name__)
        await context.abort(grpc.StatusCode.ABORTED, "no answer")
