"""The gRPC listener of the admin API, with health and reflection: grpcurl needs no proto files."""

from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from extproc.admin.errors import NoAnswerError, RefusedError
from extproc.admin.methods import SERVICE, Method, handlers
from extproc.grpc_server.transport import Transport

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_MAX_CALLS = 16  # at a time; further ones are rejected
_GRACE = 1.0  # seconds for running calls to end

_log = structlog.get_logger(__name__)


class AdminGrpcServer:
    """Serves a servicer of the admin API over a transport, as a context. Belongs to one event loop."""

    def __init__(self, servicer: object, *, transport: Transport) -> None:
        self._health = health_aio.HealthServicer()
        self._server = grpc.aio.server(options=transport.options, maximum_concurrent_rpcs=_MAX_CALLS)
        # Health and reflection are for every client; the methods are guarded.
        self._server.add_generic_rpc_handlers((handlers(servicer, partial(_guarded, transport)),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, _HEALTH, reflection.SERVICE_NAME), self._server)
        self.ports = transport.bind(self._server.add_secure_port)

    async def __aenter__(self) -> Self:
        """Listen, and report SERVING."""
        for service in ("", SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let running calls finish, and close."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(_GRACE)


def _guarded(transport: Transport, name: str, method: Method) -> Method:
    """Admit clients, and turn errors into statuses that show them no more than they may know."""

    async def guarded(request: Any, context: Any) -> Any:
        if not transport.admits(context.auth_context):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "client not allowed")
        try:
            return await method(request, context)
        except grpc.aio.AbortError:
            raise
        except RefusedError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except NoAnswerError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except Exception as error:  # noqa: BLE001 - its message may quote a secret
            _log.error("admin_call_failed", method=name, error=type(error).__name__)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")

    return guarded
