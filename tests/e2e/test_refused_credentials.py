"""Services that name their errors in the body only: refused credentials are noticed through the real Envoy."""

import asyncio
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from extproc.envoyconf.options import EnvoyOptions
from support.http import client
from support.served import served
from support.stacks import ImpatientStack

S3_ERROR = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%b</Code><Message>%b</Message></Error>'
JSON_ERROR = b'{"__type":"com.amazonaws.dynamodb.v20120810#%b","message":"m"}'


@dataclass
class Refusal:
    """What the service answers; ``parts``: its body, chunk by chunk if ``chunked``."""

    status: int
    content_type: str
    parts: list[bytes]
    chunked: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class Service(ThreadingHTTPServer):
    """Knows one access key at most: refuses all others, as ``refusal`` says."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refused = set()
        self.refusal = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.keys = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        service = self.server
        self.rfile.read(int(self.headers.get("content-length", 0)))
        key = re.search(r"Credential=(\w+)/", self.headers["authorization"])[1]
        service.keys.append(key)
        if key not in service.refused:
            self._send(Refusal(200, "application/xml", [b"<ok/>"]))
        else:
            self._send(service.refusal)

    def do_HEAD(self):
        self.do_POST()

    def _send(self, answer):
        self.send_response(answer.status)
        self.send_header("content-type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(sum(map(len, answer.parts))))
        self.end_headers()
        if self.command == "HEAD":
            return
        for position, part in enumerate(answer.parts):
            if position:
                self.server.go_on.wait(20)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if answer.chunked else part)
            self.wfile.flush()
        if answer.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def running():
    with served(Service()) as service:
        yield service
        service.go_on.set()


@pytest.fixture(scope="module", params=["http", "upstream"])
def observing(request, tmp_path_factory, running):
    def adjust(text):
        target = (
            "- name: xml\n  host: xml.example\n  region: us-east-1\n  service: s3\n  prefix: /xml\n"
            f"  endpoint_url: http://127.0.0.1:{running.server_address[1]}\n"
        )
        return text.replace("targets:\n", "targets:\n" + target) + "observe_upstream: true\n"

    def adjust_envoy(text):
        if request.param != "without overrides":
            return text
        assert "allow_mode_override: true" in text
        return text.replace("allow_mode_override: true", "allow_mode_override: false")

    options = EnvoyOptions(placement="upstream" if request.param == "upstream" else "http")
    directory = tmp_path_factory.mktemp("stack")
    with ImpatientStack(directory, adjust=adjust, adjust_envoy=adjust_envoy, envoy_options=options) as stack:
        yield stack


@pytest.fixture
def service(running):
    running.refused.clear()
    running.keys.clear()
    running.go_on.set()
    return running


async def call(observing, http, method="POST"):
    return await http.request(method, f"http://{observing.addresses.envoy}/xml/key", content=b"{}")


async def refused_once(observing, service, refusal, method="POST"):
    """A first call that is refused, and the second's status; with the keys that both were signed with."""
    async with client(token=await asyncio.to_thread(observing.token, "demo-admin")) as http:
        assert (await call(observing, http)).status_code == 200
        service.refused, service.refusal = {service.keys[0]}, refusal
        service.keys.clear()
        first = await call(observing, http, method)
        second = await call(observing, http)
    return first, second


REFUSALS = [
    (403, "application/xml", S3_ERROR % (b"InvalidAccessKeyId", b"unknown")),
    (400, "application/xml", S3_ERROR % (b"ExpiredToken", b"expired")),
    (403, "text/xml; charset=utf-8", S3_ERROR % (b"RequestTimeTooSkewed", b"skewed")),
    (400, "application/x-amz-json-1.0", JSON_ERROR % b"ExpiredTokenException"),
    (400, "application/x-amz-json-1.1", JSON_ERROR % b"UnrecognizedClientException"),
]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("refused", REFUSALS, ids=lambda refused: refused[1])
async def test_what_a_short_body_names_is_seen_and_reaches_the_client_as_it_was(
    observing, service, refused, chunked
):
    status, content_type, body = refused
    half = len(body) // 2
    refusal = Refusal(status, content_type, [body[:half], body[half:]], chunked=chunked)
    first, second = await refused_once(observing, service, refusal)
    assert (first.status_code, first.content, first.headers["content-type"]) == (status, body, content_type)
    assert first.headers.get("content-length") == (None if chunked else str(len(body)))
    assert second.status_code == 200
    assert len(set(service.keys)) == 2


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(403, "application/xml", [S3_ERROR % (b"AccessDenied", b"no")]),
        Refusal(403, "application/xml", [S3_ERROR % (b"SignatureDoesNotMatch", b"no")]),
        Refusal(404, "application/xml", [S3_ERROR % (b"ExpiredToken", b"no")]),
        Refusal(403, "text/plain", [S3_ERROR % (b"ExpiredToken", b"no")]),
        Refusal(403, "application/xml", [b" " * 70_000 + S3_ERROR % (b"ExpiredToken", b"no")]),
        Refusal(403, "application/xml", [b" " * 70_000, S3_ERROR % (b"ExpiredToken", b"no")], chunked=True),
        Refusal(
            403,
            "application/xml",
            [S3_ERROR % (b"ExpiredToken", b"no")],
            headers={"content-encoding": "x-none"},
        ),
    ],
    ids=lambda refusal: f"{refusal.status}-{refusal.parts[-1][40:90]}",
)
async def test_any_other_refusal_passes_and_keeps_the_credentials(observing, service, refusal):
    first, second = await refused_once(observing, service, refusal)
    assert (first.status_code, first.content) == (refusal.status, b"".join(refusal.parts))
    assert second.status_code == refusal.status
    assert len(set(service.keys)) == 1


async def test_a_refusal_of_head_has_no_body_and_passes(observing, service):
    refusal = Refusal(403, "application/xml", [S3_ERROR % (b"ExpiredToken", b"no")])
    first, second = await refused_once(observing, service, refusal, method="HEAD")
    assert (first.status_code, first.content) == (403, b"")
    assert second.status_code == 403


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_a_refusal_that_comes_slowly_is_not_held_up(observing, service, content_type):
    parts = [b'{"error":', b'"no"}']
    async with client(token=await asyncio.to_thread(observing.token, "demo-admin")) as http:
        await call(observing, http)
        service.refused, service.refusal = (
            {service.keys[0]},
            Refusal(403, content_type, parts, chunked=True),
        )
        service.go_on.clear()
        async with http.stream(
            "POST", f"http://{observing.addresses.envoy}/xml/key", content=b"{}"
        ) as answer:
            received = answer.aiter_raw()
            assert await anext(received) == parts[0]
            service.go_on.set()
            assert b"".join([part async for part in received]) == parts[1]


async def test_a_slow_refusal_outlives_the_server_once_enough_of_it_was_seen(tmp_path, observing, service):
    """16 KiB are looked at; after them the stream is ended, and nothing of ours is on the way."""
    parts = [b" " * 20_000, b"the end"]
    async with client(token=await asyncio.to_thread(observing.token, "demo-admin")) as http:
        await call(observing, http)
        service.refused, service.refusal = (
            {service.keys[0]},
            Refusal(403, "application/xml", parts, chunked=True),
        )
        service.go_on.clear()
        async with http.stream(
            "POST", f"http://{observing.addresses.envoy}/xml/key", content=b"{}"
        ) as answer:
            received = answer.aiter_raw()
            got = b""
            while len(got) < len(parts[0]):
                got += await anext(received)
            await asyncio.to_thread(observing.stop_part, "extproc")
            service.go_on.set()
            assert got + b"".join([part async for part in received]) == b"".join(parts)
    observing.start_part("extproc")
    await asyncio.to_thread(observing.wait_ready, "extproc")


@pytest.mark.parametrize("observing", ["without overrides"], indirect=True)
@pytest.mark.parametrize("chunked", [False, True])
async def test_where_envoy_shows_no_bodies_refusals_pass_as_they_are(observing, service, chunked):
    refusal = Refusal(403, "application/xml", [S3_ERROR % (b"ExpiredToken", b"no")], chunked=chunked)
    first, second = await refused_once(observing, service, refusal)
    assert (first.status_code, first.content) == (403, refusal.parts[0])
    assert second.status_code == 403
    service.refused.clear()
    async with client(token=await asyncio.to_thread(observing.token, "demo-admin")) as http:
        assert (await call(observing, http)).status_code == 200
