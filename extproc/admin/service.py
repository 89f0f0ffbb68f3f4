"""The methods of the admin API over ``Operations``. Changes are logged: who asked for what, what it did."""

import asyncio
from typing import Any

import structlog

from extproc.admin import messages
from extproc.admin.operations import Operations, RefusedError
from extproc.admin.v1 import admin_pb2, admin_pb2_grpc
from extproc.grpc_server import clients
from extproc.sessions.revocation import Selector

_log = structlog.get_logger(__name__)


class AdminService(admin_pb2_grpc.AdminServicer):
    """The servicer of one process. ``RefusedError`` is the caller's fault; see ``adminapi.server``."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def GetStatus(  # noqa: N802 - the API's names
        self, _request: admin_pb2.GetStatusRequest, _context: Any
    ) -> admin_pb2.GetStatusResponse:
        """How this process is."""
        return admin_pb2.GetStatusResponse(workers=[messages.status(self._operations.status())])

    async def ListSessions(  # noqa: N802
        self, request: admin_pb2.ListSessionsRequest, _context: Any
    ) -> admin_pb2.ListSessionsResponse:
        """One page of sessions."""

        def listed() -> admin_pb2.ListSessionsResponse:
            return messages.page(request, self._operations.sessions(messages.selector(request)))

        # In a thread: there may be many.
        return await asyncio.to_thread(listed)

    async def Explain(  # noqa: N802
        self, request: admin_pb2.ExplainRequest, _context: Any
    ) -> admin_pb2.ExplainResponse:
        """Which role claims would be given."""
        if not request.HasField("claims"):
            raise RefusedError("claims: required")
        asked = messages.json_of(request.request, "request") if request.HasField("request") else None
        facts = await self._operations.explain(messages.json_of(request.claims, "claims"), asked)
        return messages.explanation(facts)

    async def Revoke(  # noqa: N802
        self, request: admin_pb2.RevokeRequest, context: Any
    ) -> admin_pb2.RevokeResponse:
        """End sessions."""
        selector = messages.selector(request)
        if selector == Selector():
            raise RefusedError("at least one of issuer, subject, jti and role_arn is required")
        seconds = messages.refuse_for(request)
        done = self._operations.revoke(selector, refuse_for=seconds)
        _log.warning(
            "admin_revoked",
            issuer=selector.issuer,
            subject=selector.subject,
            jti=selector.token_id,
            role_arn=selector.role_arn,
            refused_for=seconds,
            sessions=done.sessions,
            credentials=done.credentials,
            **_caller(context),
        )
        return messages.revoked(done)

    async def Reload(  # noqa: N802
        self, _request: admin_pb2.ReloadRequest, context: Any
    ) -> admin_pb2.ReloadResponse:
        """Read the configuration again."""
        problems = await self._operations.reload()
        _log.warning("admin_reloaded", problems=len(problems), **_caller(context))
        return admin_pb2.ReloadResponse(problems=problems)

    async def GetMetrics(  # noqa: N802
        self, _request: admin_pb2.GetMetricsRequest, _context: Any
    ) -> admin_pb2.GetMetricsResponse:
        """The metrics as text."""
        return admin_pb2.GetMetricsResponse(text=self._operations.metrics())


def _caller(context: Any) -> dict[str, Any]:
    """Who asks: the address, and over mTLS the names in the certificate."""
    return {"peer": context.peer(), "names": clients.names(context.auth_context())}
