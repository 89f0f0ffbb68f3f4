"""Secrets that meet the server over gRPC, and what is left of them in logs, metrics, traces and statuses.

The exchange is the real one, with an STS that quotes the token in its errors.
"""

import contextlib
import html
import http.server
import io
import json
import logging
import sys
import threading

import grpc
import grpc.aio
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest

from extproc.grpc_server import engine
from extproc.grpc_server.service_names import EXT_PROC_SERVICE
from extproc.grpc_server.transport import Limits, Transport
from extproc.sts.breaker import CircuitBreaker
from extproc.sts.client import StsClient
from extproc.sts.exchange import StsExchange
from extproc.sts.guarded import CallLimits
from extproc.telemetry import logs
from extproc.telemetry.audit import AuditLog
from extproc.telemetry.sink import FileSink
from extproc.telemetry.tracing import OtelTracer
from support.envoy_messages import Seen, body_message, headers_message
from support.pipelines import Parts
from support.served import served

TOKEN = "eyJhbGciOiJub25lIn0.e30.canary-token"
CANARIES = ("canary", "eyJ")


class QuotingSts(http.server.BaseHTTPRequestHandler):
    """Refuses every token and quotes it in the message, or returns canaries as credentials."""

    answer = "AccessDenied"

    def do_POST(self):
        sent = html.escape(self.rfile.read(int(self.headers["content-length"])).decode())
        if self.answer == "ok":
            status, body = 200, (
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
                "<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>canary-key</SecretAccessKey>"
                "<SessionToken>canary-session</SessionToken><Expiration>2026-01-02T03:19:05Z</Expiration>"
                "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
            )  # fmt: skip
        else:
            status, body = (
                403,
                (
                    f"<ErrorResponse><Error><Code>{self.answer}</Code><Message>{sent}</Message></Error></ErrorResponse>"
                ),
            )
        self.send_response(status)
        self.send_header("content-type", "text/xml")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def sts_url():
    with served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), QuotingSts)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def talkative(monkeypatch):
    """Log everything from now on; return what was logged."""
    handlers, level, hook = logging.root.handlers, logging.root.level, threading.excepthook

    def start():
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        for name, module in sys.modules.items():
            if name.startswith("extproc.") and hasattr(module, "_log"):
                monkeypatch.setattr(
                    module, "_log", structlog.get_logger(name)
                )  # one that was used keeps its stream
        logs.configure("debug")
        logging.root.setLevel(logging.DEBUG)
        return stream.getvalue

    yield start
    logging.root.handlers, threading.excepthook = handlers, hook
    logging.root.setLevel(level)
    structlog.reset_defaults()


class Watched:
    """A server of which all output is kept."""

    def __init__(self, path, sts_url):
        self.path = path
        self.audit = AuditLog(sink=FileSink(path), max_queued=1000)
        self.spans, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.parts = Parts(audit=self.audit, tracer=OtelTracer(provider))
        breaker = CircuitBreaker(failures=100, open_for=1, clock=lambda: 0.0)
        client = StsClient(
            region="us-east-1",
            endpoint_url=sts_url,
            timeout=5,
            connections=2,
            on_date=lambda _date: None,
            clock=lambda: 1767323045.0,
        )
        self.exchange = StsExchange(
            sts=client,
            breaker=breaker,
            limits=CallLimits(deadline=5, workers=2, max_waiting=9),
            on_outcome=self.parts.metrics.exchanged,
        )
        self.parts.credentials._exchange = self.exchange
        self.statuses = []

    @contextlib.asynccontextmanager
    async def serving(self, name):
        self.audit.start()
        transport = Transport(addresses=["127.0.0.1:0"], limits=Limits(message_bytes=2**20))
        server = engine.build(name, transport=transport, pipeline=lambda: self.parts.pipeline)
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports[0]}") as channel:
                yield channel
        finally:
            await server.stop(grace=0)
            self.exchange.close()
            self.audit.close()

    async def send(self, channel, *messages):
        call = channel.stream_stream(f"/{EXT_PROC_SERVICE}/Process")()
        answers = []
        with contextlib.suppress(grpc.aio.AioRpcError):
            for message in messages:
                await call.write(message)
                answers.append(Seen(await call.read()))
                if answers[-1].is_immediate:
                    break
            await call.done_writing()
        self.statuses.append(f"{await call.code()} {await call.details()} {await call.trailing_metadata()}")
        return answers

    def written(self, logged):
        return {
            "log": logged,
            "audit": self.path.read_text(),
            "metrics": generate_latest(self.parts.metrics.registry).decode(),
            "traces": "".join(span.to_json() for span in self.spans.get_finished_spans()),
            "statuses": "".join(self.statuses),
        }


@pytest.fixture
def watched(tmp_path, sts_url):
    return Watched(tmp_path / "audit.log", sts_url)


HEAD = {
    "path": "/mcp?q=canary-query",
    "token": TOKEN,
    "headers": [("cookie", "canary-cookie"), ("x", "canary")],
}


@pytest.mark.parametrize("name", ["completion_queue", "aio"])
async def test_no_secret_is_written_anywhere(name, watched, talkative, monkeypatch):
    parts, shown, logged = watched.parts, [], talkative()
    async with watched.serving(name) as channel:

        async def send(*messages):
            answers = await watched.send(channel, *messages)
            shown.extend(seen.body for seen in answers if seen.is_immediate)
            return answers

        body = body_message(b'{"canary": "canary-body"}')
        for code in ("AccessDenied", "InvalidIdentityToken", "Throttling", "canary-no-code-of-STS"):
            monkeypatch.setattr(QuotingSts, "answer", code)
            parts.forget_refusals()
            await send(headers_message(**HEAD), body)
        monkeypatch.setattr(QuotingSts, "answer", "ok")
        parts.forget_refusals()
        (*_, last) = await send(headers_message(**HEAD), body)
        assert last.is_signed, last.body
        await send(headers_message(**HEAD), headers_message(**HEAD))
        await send(b"\xff" + TOKEN.encode())
        await send(headers_message(**HEAD)[:-7])
        await send(headers_message(**HEAD))  # closed while the server waits for the body
        crash = RuntimeError(f"canary {TOKEN}")
        with monkeypatch.context() as fault:
            fault.setattr(type(parts.signer), "sign", lambda *_, **__: (_ for _ in ()).throw(crash))
            await send(headers_message(**HEAD), body)
        with monkeypatch.context() as fault:
            fault.setattr(parts.pipeline.refusals, "answer", lambda *_, **__: (_ for _ in ()).throw(crash))
            await send(headers_message(**{**HEAD, "path": "/a/../b"}))
        parts.sessions.end_where(lambda _session: True)
        parts.verifier.failure = crash
        await send(headers_message(**HEAD))
    written = watched.written(logged())
    reasons = {json.loads(line)["reason"] for line in written["audit"].splitlines()}
    assert {
        "",
        "sts_access_denied",
        "sts_token_refused",
        "sts_throttled",
        "protocol_violation",
        "internal",
    } <= reasons
    assert "StatusCode.ABORTED" in written["statuses"]
    assert "request_failed" in written["log"]
    for place, text in written.items():
        assert text
        # The error code comes from STS and is truncated; it never contains a token.
        text = text.replace("canary-no-code-of-STS", "")  # noqa: PLW2901
        assert not [canary for canary in CANARIES if canary in text], (place, text)
    assert not any(b"canary" in body or b"eyJ" in body for body in shown)
