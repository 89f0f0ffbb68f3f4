"""A denial that waits for a body is never turned into a forwarded request, whatever comes in the body's place."""

import asyncio
import concurrent.futures
import contextlib
import itertools
import json
import socket
import struct

import pytest

from extproc.request.waiting_denials import MAX_OF_ONE_TOKEN
from support.envoys import further_envoy
from support.http import client, http2_exchange, raw

pytestmark = pytest.mark.parametrize("engine", ["completion_queue", "aio"])

BODY = b'{"jsonrpc":"2.0","id":"a-7","method":"tools/call","params":{"name":"whoami"}}'
LENGTH, PART, FORBIDDEN, CLOSE = len(BODY), BODY[:20], 403, "Connection: close\r\n"
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def head(token, *, length=LENGTH, more="", path="/mcp"):
    length = "" if length is None else f"Content-Length: {length}\r\n"
    return (
        f"POST {path} HTTP/1.1\r\nHost: mcp.example\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\n{length}{more}\r\n"
    ).encode()


def http2_head(token):
    return [
        (":method", "POST"),
        (":path", "/mcp"),
        (":scheme", "http"),
        (":authority", "mcp.example"),
        ("authorization", f"Bearer {token}"),
        ("content-type", "application/json"),
        ("content-length", str(len(BODY))),
        ("cookie", "session=1"),
    ]


class Connection:
    """One HTTP/1.1 connection, written to part by part."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.received = b""

    def until(self, end):
        while end not in self.received:
            chunk = self.socket.recv(65536)
            assert chunk, self.received
            self.received += chunk
        return self.received

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.socket.close()


@pytest.fixture
def connect(stack):
    with contextlib.ExitStack() as cleanup:

        def connected():
            connection = Connection(stack.addresses.envoy)
            cleanup.callback(connection.socket.close)
            return connection

        yield connected


@pytest.fixture
def untouched(stack):
    """A stack of which nothing must reach the upstream."""
    stack.control("mcp", "reset", {})
    yield stack
    assert stack.control("mcp", "stats")["received"] == 0


def test_a_body_that_comes_late_by_100_continue_gets_the_denial(untouched, connect):
    connection = connect()
    connection.socket.sendall(head(untouched.token("demo-guest"), more="Expect: 100-continue\r\n"))
    connection.until(b"100 Continue\r\n\r\n")
    connection.socket.sendall(BODY)
    answer = connection.until(b"}}}")
    assert b"HTTP/1.1 403 " in answer
    assert b'"id": "a-7"' in answer


def test_what_follows_on_the_same_connection_is_a_request_of_its_own(untouched):
    token = untouched.token("demo-guest")
    answers = raw(untouched.addresses.envoy, head(token) + BODY + head(token, more=CLOSE) + BODY)
    assert answers.count(b"HTTP/1.1 403 ") == 2
    answers = raw(untouched.addresses.envoy, head(token) + BODY + b"and more\r\n\r\n")
    assert b"HTTP/1.1 403 " in answers
    assert b"HTTP/1.1 400 " in answers


LENGTHS = ["0", "+5", "-5", "0x5", "5, 5", "5 5", "5\r\nContent-Length: 6", "5\r\nTransfer-Encoding: chunked"]


@pytest.mark.parametrize("length", [*LENGTHS, "000077", "99999999999999999999", None])
def test_odd_lengths_are_refused(untouched, length):
    request = head(untouched.token("demo-guest"), length=length, more=CLOSE) + BODY
    status = raw(untouched.addresses.envoy, request)[:12]
    assert status in (b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 413", b"HTTP/1.1 501")


@pytest.mark.parametrize(
    "more", ["Upgrade: h2c\r\nConnection: upgrade\r\n", "Trailer: x\r\n", "TE: trailers\r\n"]
)
def test_odd_heads_are_refused(untouched, connect, more):
    connection = connect()
    connection.socket.sendall(head(untouched.token("demo-guest"), more=more) + BODY)
    assert connection.until(b"\r\n\r\n").split()[1] in (b"400", b"403")


FRAMES = {
    "no body at all": [],
    "trailers only": [[("x-trailer", "1")]],
    "a body and trailers": [BODY, [("x-trailer", "1")]],
    "an empty body and trailers": [b"", [("x-trailer", "1")]],
    "a part of the body": [PART],
    "a part of the body and trailers": [PART, [("x-trailer", "1")]],
    "too much": [BODY, b"more"],
    "an empty body": [b""],
}


HEADS = {"no role": [], "a header that is refused": [("x-amz-target", "a.b")]}


@pytest.mark.parametrize("trailers", ["SEND", "SKIP"])
def test_http2_requests_whose_body_is_not_the_one_announced_go_nowhere(untouched, tmp_path, trailers):
    """Also through an Envoy that does not ask about trailers, which `extproc envoy --check` warns of."""
    with contextlib.ExitStack() as cleanup:
        address = untouched.addresses.envoy
        if trailers == "SKIP":
            base = cleanup.enter_context(further_envoy(untouched, tmp_path, without_trailers))
            address = base.removeprefix("http://")
        begin = http2_head(untouched.token("demo-guest"))

        def answered(case):
            more, frames = case
            with contextlib.suppress(ConnectionResetError):  # Envoy's answer to a wrong length
                return http2_exchange(address, [[*begin, *more], *frames])

        # At once: after most of them Envoy takes a second to close the connection.
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(answered, itertools.product(HEADS.values(), FRAMES.values())))
        assert set(answers) <= {None, 400, 403}


def without_trailers(text):
    return text.replace("request_trailer_mode: SEND", "request_trailer_mode: SKIP")


def test_a_user_who_is_let_in_meanwhile_is_still_refused(untouched, connect):
    """The decision is the head's: what is configured by the time of the body is no reason to forward."""
    connection = connect()
    connection.socket.sendall(head(untouched.token("demo-guest")) + PART)
    config = untouched.directory / "extproc.yaml"
    before = config.read_text()
    try:
        config.write_text(before + "\nfallback_role_arn: arn:aws:iam::123456789012:role/DemoDeveloper\n")
        untouched.processes["extproc"].send_signal(1)
        asyncio.run(_granted(untouched))
        connection.socket.sendall(BODY[20:])
        assert b"HTTP/1.1 403 " in connection.until(b"}}}")
    finally:
        config.write_text(before)
        untouched.processes["extproc"].send_signal(1)
        asyncio.run(_granted(untouched, status=FORBIDDEN))
        untouched.control("mcp", "reset", {})


async def _granted(stack, status=None):
    token = stack.token("demo-guest")
    async with client(token=token) as http:
        for _ in range(200):
            answer = await http.post(f"http://{stack.addresses.envoy}/echo", content=BODY)
            if (answer.status_code == FORBIDDEN) is (status == FORBIDDEN):
                return
            await asyncio.sleep(0.1)
    raise AssertionError("not reloaded")


@pytest.mark.parametrize("path", ["/mcp", "/elsewhere"])
@pytest.mark.parametrize("token", ["x", "eyJhbGciOiJub25lIn0.e30.c2ln", "expired", "foreign"])
def test_nobody_unknown_is_waited_for(untouched, connect, token, path):
    if token == "expired":
        token = untouched.token("demo-guest", lifetime="-100")
    elif token == "foreign":
        token = untouched.token("demo-guest", audience="https://elsewhere.example")
    connection = connect()
    connection.socket.sendall(head(token, path=path))
    answer = connection.until(b"\r\n\r\n")
    assert answer.split()[1] in (b"401", b"404")


def test_rooms_of_streams_that_were_reset_are_given_back_and_the_others_are_served(untouched, connect):
    token = untouched.token("demo-guest")
    for _ in range(2):
        held = [connect() for _ in range(MAX_OF_ONE_TOKEN)]
        for connection in held:
            connection.socket.sendall(head(token) + PART)
        one_more = raw_when_full(connect, token, held)
        assert b'"id"' not in one_more.partition(b"\r\n\r\n")[2]
        for connection in held:
            connection.reset()
        asyncio.run(_waits_again(untouched, token))


def raw_when_full(connect, token, held):
    """The answer to one more; those that get a place before a slower one of ``held`` keep it, as that would."""
    for _ in range(100):
        connection = connect()
        connection.socket.settimeout(0.3)
        connection.socket.sendall(head(token))
        with contextlib.suppress(TimeoutError):
            answer = connection.until(b"}}}")
            connection.reset()
            return answer
        held.append(connection)
    raise AssertionError("every one was waited for")


async def _waits_again(stack, token):
    async with client(token=token) as http:
        for _ in range(100):
            answer = await http.post(
                f"http://{stack.addresses.envoy}/mcp",
                content=BODY,
                headers={"content-type": "application/json"},
            )
            if json.loads(answer.content).get("id") == "a-7":
                return
            await asyncio.sleep(0.1)
    raise AssertionError("no room again")
