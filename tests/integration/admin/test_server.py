"""The admin API over the network, with the real grpcurl, and its command."""

import asyncio
import contextlib
import json
import stat
import subprocess
import sys
from dataclasses import replace

import grpc
import grpc.aio
import pytest
import structlog

from extproc.admin.errors import NoAnswerError
from extproc.admin.methods import calls
from extproc.admin.server import SERVICE, AdminGrpcServer
from extproc.admin.v1 import admin_pb2
from extproc.app.listeners import build_admin_transport
from extproc.config import parse
from extproc.demo.stack import find_program
from extproc.policy.inputs import NO_INPUTS
from extproc.telemetry.record import RequestRecord
from extproc.values import RequestHead
from support import forked
from support.admin import ROLE, SETTINGS, admin_service, explanation
from support.certificates import LOCAL, Authority, uri
from support.pipelines import TOKEN, Parts

METHODS = ["GetStatus", "ListSessions", "Explain", "Revoke", "Reload", "GetMetrics"]
OPERATOR = "spiffe://example.org/operator"


@contextlib.asynccontextmanager
async def serving(parts, listen, **options):
    settings = parse(SETTINGS + f"listen: {json.dumps(listen)}\n")
    service = admin_service(parts, **options)
    async with AdminGrpcServer(service, transport=build_admin_transport(settings)) as server:
        yield server


async def run(*command, code=0):
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
    )
    return answer(done, code)


def answer(done, code):
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stdout + done.stderr


class Caller:
    """Calls over a Unix socket: grpcurl, and ``extproc admin``."""

    def __init__(self, path):
        self.path = path

    async def grpcurl(self, *arguments, data=None, code=0):
        options = ["-d", json.dumps(data)] if data is not None else []
        return await run(
            find_program("grpcurl"), "-plaintext", "-unix", *options, str(self.path), *arguments, code=code
        )

    async def call(self, method, data=None, code=0):
        shown = await self.grpcurl(f"{SERVICE}/{method}", data=data or {}, code=code)
        return json.loads(shown) if code == 0 else shown

    async def command(self, *arguments, code=0):
        command = ["-m", "extproc", "admin", *arguments, "--address", f"unix:{self.path}"]
        return answer(await asyncio.to_thread(forked.run, command, timeout=60), code)


@contextlib.asynccontextmanager
async def on_a_socket(tmp_path, parts=None, **options):
    path = tmp_path / "admin.sock"
    async with serving(parts or Parts(), {"admin_grpc": f"unix:{path}"}, **options):
        yield Caller(path)


async def used(parts):
    """Open a session by signing one request."""
    headers = (("authorization", f"Bearer {TOKEN}"),)
    admission = parts.pipeline.admission.admit(
        RequestHead("POST", "/mcp", "mcp.example", headers, has_body=False)
    )
    return await parts.pipeline.authorization.obtain(admission, NO_INPUTS, RequestRecord())


async def test_grpcurl_finds_every_method_without_proto_files(tmp_path):
    async with on_a_socket(tmp_path) as caller:
        assert (await caller.grpcurl("list")).split() == [
            SERVICE,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        ]
        described = await caller.grpcurl("describe", SERVICE)
        for method in METHODS:
            assert f"rpc {method} ( .extproc.admin.v1.{method}Request )" in described
        for service in ("", SERVICE):
            health = await caller.grpcurl("grpc.health.v1.Health/Check", data={"service": service})
            assert json.loads(health) == {"status": "SERVING"}


async def test_every_method_answers_without_a_secret(tmp_path):
    parts = Parts()
    authorized = await used(parts)
    shown = []
    with structlog.testing.capture_logs() as logs:
        async with on_a_socket(tmp_path, parts, problems=["targets: wrong"]) as caller:
            for method, data in (
                ("GetStatus", {}),
                ("ListSessions", {"subject": "alice"}),
                ("Explain", {"claims": {"sub": "alice", "groups": ["admins"]}, "request": {"path": "/mcp"}}),
                ("GetMetrics", {}),
                ("Reload", {}),
                ("Revoke", {"subject": "alice", "duration": "60s"}),
            ):
                shown.append(await caller.call(method, data))
    status, listed, explained, metrics, reloaded, revoked = shown
    (worker,) = status["workers"]
    assert (worker["ready"], worker["sessions"], worker["breaker"]) == (True, 1, "BREAKER_STATE_CLOSED")
    (session,) = listed["sessions"]
    assert (session["subject"], session["credentials"][0]["role_arn"]) == ("alice", ROLE)
    assert explained["explanation"]["role_arn"] == ROLE
    assert "extproc_sessions" in metrics["text"] or "extproc_requests" in metrics["text"]
    assert reloaded == {"problems": ["targets: wrong"]}
    assert (revoked["sessions"], revoked["credentials"]) == (1, 1)
    credentials = authorized.credentials
    everything = json.dumps(shown) + repr(logs)
    for secret in (TOKEN, credentials.secret_access_key, credentials.session_token):
        assert secret not in everything
    assert authorized.session.digest.hex() not in everything


async def test_changes_are_logged_with_their_caller(tmp_path):
    parts = Parts()
    await used(parts)
    with structlog.testing.capture_logs() as logs:
        async with on_a_socket(tmp_path, parts, problems=["x: wrong"]) as caller:
            await caller.call("GetStatus")
            await caller.call("Revoke", {"subject": "alice", "issuer": "https://idp.example"})
            await caller.call("Reload")
    events = [entry for entry in logs if entry["event"].startswith("admin_")]
    revoked, reloaded = events
    assert revoked == {
        "event": "admin_revoked",
        "log_level": "warning",
        "issuer": "https://idp.example",
        "subject": "alice",
        "jti": None,
        "role_arn": None,
        "refused_for": 86_400.0,
        "sessions": 1,
        "credentials": 1,
        "peer": "unix:",
        "names": [],
    }
    assert (reloaded["event"], reloaded["problems"]) == ("admin_reloaded", 1)


@pytest.mark.parametrize(
    ("method", "data", "message"),
    [
        ("Revoke", {}, "at least one of issuer, subject, jti and role_arn is required"),
        ("Revoke", {"subject": "", "issuer": "x"}, "subject: must not be empty"),
        ("Revoke", {"role_arn": ROLE, "duration": "5s"}, "not by role"),
        ("Revoke", {"subject": "a", "duration": "-5s"}, "duration: must not be negative"),
        ("ListSessions", {"page_size": -1}, "page_size: must not be negative"),
        ("ListSessions", {"page_token": "../x"}, "page_token: is none of an earlier answer"),
        ("Explain", {}, "exactly one of claims, session and unverified_token is required"),
        ("Explain", {"claims": {"n": 2**60}}, "claims: a number is too large"),
        ("Explain", {"claims": {}, "request": {"verb": "x"}}, "request: unknown member 'verb'"),
    ],
)
async def test_an_unusable_request_is_an_invalid_argument(tmp_path, method, data, message):
    async with on_a_socket(tmp_path) as caller:
        shown = await caller.call(method, data, code=64 + grpc.StatusCode.INVALID_ARGUMENT.value[0])
    assert "Code: InvalidArgument" in shown
    assert message in shown


async def test_a_fault_of_the_server_is_internal_and_its_message_is_not_even_logged(tmp_path):
    async def broken():
        raise RuntimeError("canary-secret")

    with structlog.testing.capture_logs() as logs:
        async with on_a_socket(tmp_path, reload=broken) as caller:
            shown = await caller.call("Reload", code=64 + grpc.StatusCode.INTERNAL.value[0])
            assert "Message: internal error" in shown
            await caller.call("GetStatus")  # still served
    assert "canary" not in shown + repr(logs)
    assert [entry["error"] for entry in logs if entry["event"] == "admin_call_failed"] == ["RuntimeError"]


async def test_a_call_that_a_worker_does_not_answer_is_unavailable_and_names_the_worker(tmp_path):
    async def unanswered():
        raise NoAnswerError("worker 2: DEADLINE_EXCEEDED")

    async with on_a_socket(tmp_path, reload=unanswered) as caller:
        shown = await caller.call("Reload", code=64 + grpc.StatusCode.UNAVAILABLE.value[0])
    assert "Message: worker 2: DEADLINE_EXCEEDED" in shown


async def test_only_its_owner_can_use_the_socket(tmp_path):
    async with on_a_socket(tmp_path) as caller:
        assert stat.S_IMODE(caller.path.stat().st_mode) == 0o600
    assert not caller.path.exists()


async def test_an_address_in_use_is_named(tmp_path):
    async with on_a_socket(tmp_path) as caller:
        with pytest.raises(OSError, match=f"listen.admin_grpc unix:{caller.path}: another process"):
            async with serving(Parts(), {"admin_grpc": f"unix:{caller.path}"}):
                pass


async def test_over_the_network_only_listed_clients_are_served(tmp_path):
    authority = Authority(tmp_path)
    server, operator = authority.issue("server", *LOCAL), authority.issue("operator", uri(OPERATOR))
    envoy = authority.issue("envoy", uri("spiffe://example.org/envoy"))
    tls = {
        "certificate": str(server.certificate),
        "private_key": str(server.key),
        "client_ca": str(authority.certificate),
        "allowed_clients": ["spiffe://example.org/envoy"],
    }
    listen = {"admin_grpc": "0.0.0.0:0", "admin_clients": [OPERATOR], "tls": tls}

    async def status(pair):
        credentials = grpc.ssl_channel_credentials(
            authority.certificate.read_bytes(),
            pair.key.read_bytes() if pair else None,
            pair.certificate.read_bytes() if pair else None,
        )
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options) as channel:
            try:
                await calls(channel)["Revoke"](admin_pb2.RevokeRequest(subject="x"), timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    with structlog.testing.capture_logs() as logs:
        async with serving(Parts(), listen) as running:
            (port,) = running.ports
            assert await status(operator) is grpc.StatusCode.OK
            assert await status(envoy) is grpc.StatusCode.PERMISSION_DENIED
            assert await status(None) is grpc.StatusCode.UNAVAILABLE
            tls_options = ("--ca", authority.certificate, "--server-name", "localhost")
            ours = ("--cert", operator.certificate, "--key", operator.key)
            address = ("--address", f"127.0.0.1:{port}")
            command = (sys.executable, "-m", "extproc", "admin", "status", *address)
            assert "worker 0: ready" in await run(*command, *tls_options, *ours)
            assert "UNAVAILABLE" in await run(*command, *tls_options, code=3)
    (revoked,) = [entry for entry in logs if entry["event"] == "admin_revoked"]
    assert revoked["names"] == [OPERATOR]


async def test_the_command_shows_and_revokes(tmp_path):
    parts = Parts()
    await used(parts)
    claims = tmp_path / "claims.json"
    claims.write_text('{"sub": "alice", "groups": ["admins"]}')
    async with on_a_socket(tmp_path, parts) as caller:
        assert "worker 0: ready" in await caller.command("status")
        listed = await caller.command("sessions", "--subject", "alice")
        assert "123456789012:role/Admin" in listed
        assert "1 session\n" in listed
        assert "allowed" in await caller.command("explain", "--claims", str(claims))
        facts = json.loads(await caller.command("explain", "--claims", str(claims), "--json"))
        assert facts == await explanation(admin_service(parts), json.loads(claims.read_text()))
        assert isinstance(facts["session_duration"], int)
        assert "dropped: 1 session, 1 credential\n" in await caller.command("revoke", "--subject", "alice")
        assert "0 sessions" in await caller.command("sessions")
        assert json.loads(await caller.command("sessions", "--json")) == {"sessions": [], "more": False}
        assert "reloaded" in await caller.command("reload")
        dropped = json.loads(await caller.command("revoke", "--jti", "x", "--drop-only", "--json"))
        assert "refused_until" not in dropped


async def test_the_commands_exit_status_distinguishes_no_bad_input_and_no_answer(tmp_path):
    claims = tmp_path / "claims.json"
    claims.write_text("{}")
    restart = "configuration: sts needs a restart"
    async with on_a_socket(tmp_path, degraded=[restart, "stale"]) as caller:
        assert await caller.command("reload") == f"reloaded\n{restart}\n"
    async with on_a_socket(tmp_path, unready=["draining"], degraded=["stale"], problems=["a: b"]) as caller:
        shown = await caller.command("status", code=1)
        assert "draining" in shown
        assert "stale" in shown
        assert "denied: no_role" in await caller.command("explain", "--claims", str(claims), code=1)
        assert await caller.command("reload", code=1) == "a: b\n"
        assert "at least one" in await caller.command("revoke", code=2)
        assert "must not be empty" in await caller.command("revoke", "--subject", "", code=2)
        assert "--for" in await caller.command("revoke", "--subject", "a", "--for", "1 day", code=2)
        claims.write_text('{"a": 1, "a": 2}')
        assert "claims.json" in await caller.command("explain", "--claims", str(claims), code=2)
    assert "UNAVAILABLE" in await caller.command("status", code=3)
    assert "--address" in await run(sys.executable, "-m", "extproc", "admin", "status", code=2)


async def test_users_strings_cannot_control_a_terminal(tmp_path):
    parts = Parts()
    verify = parts.verifier.verify

    async def hostile(*arguments, **options):
        return replace(await verify(*arguments, **options), subject="\x1b[2J[red]alice\u202e")

    parts.verifier.verify = hostile
    await used(parts)
    async with on_a_socket(tmp_path, parts) as caller:
        listed = await caller.command("sessions")
    assert "\N{REPLACEMENT CHARACTER}[2J[red]alice\N{REPLACEMENT CHARACTER}" in listed
    assert "\x1b" not in listed
