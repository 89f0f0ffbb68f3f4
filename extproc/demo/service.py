"""Run one service of the demo: ``python -m extproc.demo.service idp|sts|mcp --listen HOST:PORT``.

Each command imports its own service only: the MCP SDK alone takes longer to load than all the rest.
"""

import json
import signal
import socket
import sys
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import IO, Any, Final

import click
import uvicorn
from starlette.types import ASGIApp

DEFAULT_ISSUER: Final = "http://127.0.0.1:9000"
DEFAULT_AUDIENCE: Final = "https://mcp.example/mcp"
DEFAULT_ROLES: Final = (
    "arn:aws:iam::123456789012:role/DemoAdmin=*",
    "arn:aws:iam::123456789012:role/DemoDeveloper=*",
)
# SIGTERM must end the process within two seconds, event streams included.
GRACE: Final = 1  # seconds
HEADER_LIMIT: Final = 256 * 1024  # bytes of request head; session tokens alone may take kilobytes


class AnnouncingServer(uvicorn.Server):
    """A server that prints its address when it listens, so that a parent process can wait for it."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print ``listening on http://HOST:PORT`` with the real port."""
        await super().startup(sockets=sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            print(f"listening on http://{host}:{port}", flush=True)


def config(app: ASGIApp, *, host: str, port: int, date_header: bool = True) -> uvicorn.Config:
    """Return the HTTP/1.1 settings that all services share; port 0 means any free port."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        # With h11 the request target is passed on as received; a verifier needs the raw bytes.
        http="h11",
        ws="none",
        lifespan="on",
        h11_max_incomplete_event_size=HEADER_LIMIT,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=date_header,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE,
    )


def serve(app: ASGIApp, listen: tuple[str, int], *, date_header: bool = True) -> None:
    """Serve until SIGTERM or SIGINT, then exit with status 0."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    # After its own shutdown uvicorn raises the signal again, for the handler that was set before.
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    host, port = listen
    AnnouncingServer(config(app, host=host, port=port, date_header=date_header)).run()


class Listen(click.ParamType[tuple[str, int]]):
    """``HOST:PORT``; an IPv6 host may stand in brackets."""

    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Split and check one value."""
        host, colon, port = str(value).rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - a port
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return host.removeprefix("[").removesuffix("]"), int(port)


class Role(click.ParamType[tuple[str, str]]):
    """``ROLE_ARN=SUBJECT_PATTERN``."""

    name = "arn=pattern"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split one value at its last equals sign: a role's name may contain some, a pattern may not."""
        arn, equals, pattern = str(value).rpartition("=")
        if not equals or not arn.startswith("arn:") or not pattern:
            self.fail(f"{value!r} is not ROLE_ARN=SUBJECT_PATTERN", param, ctx)
        return arn, pattern


_listen = click.option("--listen", type=Listen(), required=True, help="Address to serve at; port 0 is any.")


@click.group()
def main() -> None:
    """Services of the demo. None of them is for production."""


@main.command("idp")
@_listen
@click.option("--issuer", default=DEFAULT_ISSUER, show_default=True, help="URL the provider is reached at.")
@click.option("--audience", default=DEFAULT_AUDIENCE, show_default=True, help="Default aud of tokens.")
@click.option("--no-cimd", is_flag=True, help="Take no client id metadata documents (CIMD).")
def run_idp(*, listen: tuple[str, int], issuer: str, audience: str, no_cimd: bool) -> None:
    """Run the OIDC provider."""
    from extproc.demo import idp

    settings = idp.IdpSettings(issuer=issuer, audience=audience, client_documents=not no_cimd)
    serve(idp.create_app(settings), listen)


@main.command("sts")
@_listen
@click.option("--issuer", "issuers", multiple=True, default=[DEFAULT_ISSUER], show_default=True)
@click.option("--audience", "audiences", multiple=True, default=[DEFAULT_AUDIENCE], show_default=True)
@click.option(
    "--role",
    "roles",
    type=Role(),
    multiple=True,
    default=DEFAULT_ROLES,
    show_default=True,
    help="A role and a pattern of subjects it trusts; repeat a role to add patterns.",
)
@click.option(
    "--aws",
    "account_file",
    type=click.File("rb"),
    help="The output of `extproc aws`, in place of --issuer, --audience and --role.",
)
@click.option("--max-session-duration", default=3600, show_default=True, type=click.IntRange(3600, 43200))
@click.option("--credential-lifetime", type=int, help="Seconds every credential lives, whatever was asked.")
def run_sts(
    *,
    listen: tuple[str, int],
    issuers: tuple[str, ...],
    audiences: tuple[str, ...],
    roles: tuple[tuple[str, str], ...],
    account_file: IO[bytes] | None,
    max_session_duration: int,
    credential_lifetime: int | None,
) -> None:
    """Run the STS emulator."""
    from extproc.demo import sts
    from extproc.demo.sts_trust import TrustPolicy

    admitted = frozenset(audiences)
    patterns: dict[str, tuple[str, ...]] = {}
    for arn, pattern in roles:
        patterns[arn] = (*patterns.get(arn, ()), pattern)
    settings = sts.StsSettings(
        providers=dict.fromkeys(issuers, admitted),
        roles={
            arn: TrustPolicy(audiences=admitted, subjects=subjects, max_session_duration=max_session_duration)
            for arn, subjects in patterns.items()
        },
        credential_lifetime=credential_lifetime,
    )
    if account_file is not None:
        settings = replace(
            sts.StsSettings.from_json(json.load(account_file)), credential_lifetime=credential_lifetime
        )
    # The emulator writes its own Date header, as STS does.
    serve(sts.create_app(settings), listen, date_header=False)


@main.command("mcp")
@_listen
@click.option("--sts-url", default="http://127.0.0.1:9001", show_default=True, help="The STS emulator.")
@click.option("--host", default="aws-mcp.us-east-1.api.aws", show_default=True, help="The signing host.")
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--service", default="aws-mcp", show_default=True)
@click.option("--body-limit", default=16 * 1024 * 1024, show_default=True, type=click.IntRange(1))
@click.option("--allow-unsigned-payload", is_flag=True, help="Accept UNSIGNED-PAYLOAD.")
@click.option("--s3-style", is_flag=True, help="Canonicalise paths as S3 does.")
def run_mcp(
    *,
    listen: tuple[str, int],
    sts_url: str,
    host: str,
    region: str,
    service: str,
    body_limit: int,
    allow_unsigned_payload: bool,
    s3_style: bool,
) -> None:
    """Run the MCP server behind its SigV4 check."""
    from extproc.demo import mcp_server

    settings = mcp_server.UpstreamSettings(
        sts_url=sts_url.rstrip("/"),
        host=host,
        region=region,
        service=service,
        body_limit=body_limit,
        allow_unsigned_payload=allow_unsigned_payload,
        s3_style=s3_style,
    )
    serve(mcp_server.create_app(settings, write_line=partial(print, flush=True)), listen)


if __name__ == "__main__":
    main()
