"""What a worker answers its supervisor: of the admin API, how it is, what it measures, and revocations."""

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry, generate_latest

from extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.clock import Clock
from extproc.credentials.revocation import Revocation, Selector

REFUSED_FOR = 24 * 3600.0
"""Seconds that a revocation refuses its people, unless it says otherwise."""

_NANO = 1e-9
_GRACE = 1.0  # seconds


class Answers(admin_pb2_grpc.AdminServicer):
    """The servicer on the control channel; methods that it lacks answer UNIMPLEMENTED."""

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        unready: Callable[[], list[str]],
        revocation: Revocation,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._unready = unready
        self._revocation = revocation
        self._clock = clock
        self._server = grpc.aio.server()
        admin_pb2_grpc.add_AdminServicer_to_server(self, self._server)

    async def start(self, address: str) -> None:
        """Listen on the control channel."""
        self._server.add_insecure_port(address)
        await self._server.start()

    async def stop(self) -> None:
        """Finish the answers under way, and close the channel."""
        await self._server.stop(_GRACE)

    async def GetStatus(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the API's names
        """Whether this worker is ready, or why not."""
        reasons = self._unready()
        return admin_pb2.GetStatusResponse(
            workers=[admin_pb2.WorkerStatus(ready=not reasons, reasons=reasons)]
        )

    async def GetMetrics(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """The metrics of this worker."""
        return admin_pb2.GetMetricsResponse(text=generate_latest(self._registry).decode())

    async def Revoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        """End the sessions that meet the conditions, and refuse their owners for the duration."""
        selector = Selector(
            issuer=request.issuer or None,
            subject=request.subject or None,
            token_id=request.jti or None,
            role_arn=request.role_arn or None,
        )
        refused_for = REFUSED_FOR
        if request.HasField("duration"):
            refused_for = request.duration.seconds + request.duration.nanos * _NANO
        until = self._clock() + refused_for if refused_for > 0 else None
        try:
            if selector == Selector():
                raise ValueError("at least one condition is required")  # noqa: TRY301 - told as the others are
            revoked = self._revocation.revoke(selector, deny_until=until)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = admin_pb2.RevokeResponse(sessions=revoked.sessions, role_policy=revoked.role_policy)
        if until is not None:
            answer.refused_until.FromNanoseconds(int(until / _NANO))
        return answer
