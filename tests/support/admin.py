"""The admin API of a process that is a real pipeline over fakes of its I/O seams."""

from types import SimpleNamespace

from google.protobuf.json_format import ParseDict

from extproc import config, struct_values
from extproc.admin.v1 import admin_pb2
from extproc.app.admin_service import AdminService
from extproc.app.factories import build_key_stores, build_verifier
from extproc.signing.targets import TargetTable
from extproc.sts.aws_clock import AwsClock
from extproc.sts.breaker import CircuitBreaker
from support.pipelines import AWS_MCP, NOW, Parts

ROLE = "arn:aws:iam::123456789012:role/Admin"
SETTINGS = f"""
resource: {{url: https://mcp.example/mcp}}
issuers: [{{issuer: https://idp.example, audiences: [https://mcp.example/mcp]}}]
targets: [{{name: aws-mcp, host: aws-mcp.us-east-1.api.aws}}]
role_mappings: [{{claim: admins, role_arn: "{ROLE}"}}]
"""


class Context:
    """A call over a Unix socket."""

    def peer(self):
        return "unix:"

    def auth_context(self):
        return {}


def admin_service(
    parts: Parts,
    *,
    key_stores=None,
    problems=(),
    unready=(),
    degraded=(),
    reload=None,
    audit=None,
    shared_store=None,
) -> AdminService:
    async def reloaded():
        return list(problems)

    def clock():
        return parts.now

    settings = config.parse(SETTINGS)
    return AdminService(
        state=SimpleNamespace(
            clock=clock,
            metrics=parts.metrics,
            audit=audit,
            sessions=parts.sessions,
            credentials=parts.credentials,
            deny_list=parts.deny_list,
            revocation=parts.revocation,
            shared_store=shared_store,
            exchange=SimpleNamespace(waiting=6),
            breaker=CircuitBreaker(failures=1, open_for=10, clock=clock),
            aws_clock=AwsClock(system=clock),
        ),
        reloader=SimpleNamespace(
            current=SimpleNamespace(
                settings=settings,
                policy=parts.policy,
                targets=TargetTable([AWS_MCP]),
                verifier=build_verifier(settings, build_key_stores(settings, clock), clock),
                key_stores=key_stores or {},
                loaded_at=NOW - 5,
            ),
            problems=list(problems),
            reload=reload or reloaded,
        ),
        unready=lambda: list(unready),
        degraded=lambda: list(degraded),
    )


async def status(service: AdminService) -> admin_pb2.WorkerStatus:
    (worker,) = (await service.GetStatus(admin_pb2.GetStatusRequest(), Context())).workers
    return worker


async def sessions(service: AdminService, **conditions: str) -> list[admin_pb2.Session]:
    request = admin_pb2.ListSessionsRequest(**conditions)
    return list((await service.ListSessions(request, Context())).sessions)


async def explanation(service: AdminService, claims, request=None):
    """Return what ``extproc explain --json`` prints; its integers are doubles here."""
    asked = ParseDict({"claims": claims, "request": request}, admin_pb2.ExplainRequest())
    return struct_values.plain((await service.Explain(asked, Context())).explanation)


async def revoke(service: AdminService, *, seconds=None, **conditions: str) -> admin_pb2.RevokeResponse:
    request = admin_pb2.RevokeRequest(**conditions)
    if seconds is not None:
        request.duration.FromSeconds(seconds)
    return await service.Revoke(request, Context())
