"""The admin API of a process that is a real pipeline over fakes of its I/O seams."""

import types

from extproc import config
from extproc.app.factories import build_key_stores, build_verifier
from extproc.app.operations import AppOperations, Running
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


def operations(
    parts: Parts, *, key_stores=None, problems=(), unready=(), degraded=(), reload=None
) -> AppOperations:
    async def reloaded():
        return list(problems)

    settings = config.parse(SETTINGS)
    running = Running(
        settings,
        parts.policy,
        TargetTable([AWS_MCP]),
        build_verifier(settings, build_key_stores(settings, lambda: parts.now), lambda: parts.now),
        key_stores or {},
        loaded_at=NOW - 5,
        problems=tuple(problems),
    )
    return AppOperations(
        running=lambda: running,
        unready=lambda: list(unready),
        degraded=lambda: list(degraded),
        reload=reload or reloaded,
        sessions=parts.sessions,
        credentials=parts.credentials,
        revoker=parts.revocation,
        exchange=types.SimpleNamespace(waiting=0),
        breaker=CircuitBreaker(failures=1, open_for=10, clock=lambda: parts.now),
        aws_clock=AwsClock(system=lambda: parts.now),
        registry=parts.metrics.registry,
        clock=lambda: parts.now,
    )
