"""One user's load through the real Envoy: others are served, nothing unsigned leaves, and nothing is left behind.

With ``-s`` each test tells its figures.
"""

import asyncio
import contextlib
import hashlib
import itertools
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3
import yaml

from extproc.demo.settings import DEVELOPER_ROLE
from support.bombs import BombService, gzip_bomb
from support.http import client
from support.served import served
from support.streams import counted, open_and_reset
from support.supervised import until
from support.upstreams import stack_with

pytestmark = pytest.mark.long  # thousands of connections and streams

ENGINES = ["completion_queue", "aio"]
HELD = 1000
RESETS = 5000
IDLE = 1500
HOLD = "/sse?n=2&delay=50"
ON_ONE_CONNECTION = 250  # streams; Envoy permits 256
MIB = 1024 * 1024
COUNTED, UNCOUNTED, SCARCE = "", "/vault", "/scarce"
"""Prefixes of targets: with room for thousands of open requests, without a limit, with the service's quota."""


def bomb():
    """Of 8 MB as it is sent, which limits.request_body_bytes permits, and of 8 GB if anybody inflated it."""
    return gzip_bomb(512, members=16)


def bombs_as_answers():
    """Status, headers and body by path; without a length it goes out in parts.

    Long and short, and with each of what decides whether an answer's body is looked at. Fewer than the eight
    of a session that are looked at.
    """
    long, short = bomb(), gzip_bomb(12)
    length = {"content-length": str(len(long))}
    short_length = {"content-length": str(len(short))}
    gzip, json = {"content-encoding": "gzip"}, {"content-type": "application/json"}
    wrong, expired = (
        {"x-amzn-errortype": error} for error in ("SignatureDoesNotMatch", "ExpiredTokenException")
    )
    return {
        "/success": (200, json | gzip | length, long),
        "/error": (403, json | gzip | length, long),
        "/error/of-untold-length": (403, json | gzip, long),
        "/error/not-called-gzip": (403, json, long),
        "/error/short-and-not-called-gzip": (403, json | short_length, short),
        "/signature": (403, json | wrong | short_length, short),
        "/expired": (400, json | gzip | expired | length, long),
    }


@pytest.fixture(scope="module")
def bombs():
    with served(BombService(bombs_as_answers())) as service:
        yield service


@pytest.fixture(scope="module", params=ENGINES)
def shared_vault(request, tmp_path_factory, bombs):
    def adjust(text):
        settings = yaml.safe_load(text)
        settings["listen"]["engine"] = request.param
        (mcp,) = (target for target in settings["targets"] if target["name"] == "aws-mcp")
        mcp.update(max_connections=2 * HELD, max_connections_per_subject=HELD + 1)
        endpoint = f"http://127.0.0.1:{bombs.server_address[1]}"
        settings["targets"] += [
            {"name": "bombs", "host": "bombs.example", "region": "us-east-1", "service": "bombs",
             "prefix": "/bombs", "endpoint_url": endpoint},
            {"name": "scarce", "host": mcp["host"], "prefix": SCARCE, "endpoint_url": mcp["endpoint_url"]},
        ]  # fmt: skip
        return yaml.safe_dump(settings)

    with stack_with(
        tmp_path_factory.mktemp(request.param), "vault", host="vault.example", prefix=UNCOUNTED,
        adjust_further=adjust,
    ) as upstream:  # fmt: skip
        with others_are_served(upstream.stack):  # so that what is loaded once is there
            pass
        yield upstream


@pytest.fixture
def vault(shared_vault):
    shared_vault.control("reset", {})
    shared_vault.stack.control("mcp", "reset", {})
    return shared_vault


class Others:
    """Somebody else, who asks again and again, on one connection and on new ones by turns.

    Attributes:
        answers: status of each answer, with the session that it was signed with or what is wrong.
    """

    def __init__(self, stack, prefix):
        self._url = f"http://{stack.addresses.envoy}{prefix}/echo"
        self._token = stack.token("demo-developer", jti=f"others-{next(_numbers)}")
        self.answers = []
        self.over = threading.Event()

    def ask(self):
        with urllib3.PoolManager(retries=False, timeout=60.0) as http:
            for number in itertools.count():
                if self.over.is_set():
                    return
                body = f"request {number}".encode()
                close = {"connection": "close"} if number % 2 else {}
                told = http.request(
                    "POST", self._url, body=body, headers={"authorization": f"Bearer {self._token}", **close}
                )
                role = told.json().get("arn", "") if told.status == 200 else told.data.decode()[:200]
                if told.status == 200 and told.json()["body_sha256"] != hashlib.sha256(body).hexdigest():
                    role = "another body"
                self.answers.append((told.status, role))

    def more(self, count):
        """Wait until so many more are answered."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted or self.over.is_set(), f"{count} more answers to others")


_numbers = itertools.count()


@contextlib.contextmanager
def others_are_served(stack, prefix=COUNTED):
    """Have another user ask meanwhile; in the end all must have been answered, each signed with their own role."""
    others = Others(stack, prefix)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(others.ask)
        try:
            others.more(10)
            yield others
            others.more(10)
        finally:
            others.over.set()
        asking.result()
    role = DEVELOPER_ROLE.rpartition("/")[2]
    wrong = [
        (status, arn)
        for status, arn in others.answers
        if status != 200 or f":assumed-role/{role}/" not in arn
    ]
    assert wrong == []


def resident(stack):
    """Bytes that extproc's process holds."""
    status = Path(f"/proc/{stack.processes['extproc'].pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def most_resident(stack):
    """The most bytes that extproc's process held since ``forget_most``."""
    status = Path(f"/proc/{stack.processes['extproc'].pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@contextlib.contextmanager
def growing_by_at_most(stack, limit, what):
    """Bound how much memory extproc ever took beyond what it had; tells the figures."""
    process = Path(f"/proc/{stack.processes['extproc'].pid}")
    (process / "clear_refs").write_text("5")  # VmHWM begins anew (proc_pid_clear_refs(5))
    before = resident(stack)
    yield
    most, after = most_resident(stack), resident(stack)
    print(
        f"\n{what}: extproc had {before / MIB:.0f} MiB, at most {most / MIB:.0f}, {after / MIB:.0f} in the end"
    )
    assert most - before < limit


def envoy_stat(stack, name):
    answer = stack.http.request(
        "GET", f"http://{stack.addresses.envoy_admin}/stats?filter=^{re.escape(name)}$"
    )
    (line,) = answer.data.decode().splitlines()
    return int(line.rpartition(" ")[2])


def metric(stack, name, **labels):
    """A metric of extproc, added up over the label values that are not given."""
    text = stack.http.request("GET", f"http://{stack.addresses.extproc_admin}/metrics").data.decode()
    found = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if re.match(rf"extproc_{name}[{{ ]", line) and all(f'{k}="{v}"' in line for k, v in labels.items())
    ]
    assert found
    return sum(found)


def nothing_is_left(vault):
    """Wait until every count is at 0 again, and compare what the upstreams got with what was signed."""
    stack = vault.stack
    for name in ("target_requests_open", "target_requests_waiting", "exchanges_waiting"):
        until(lambda name=name: metric(stack, name) == 0, name)
    for name in (
        "cluster.extproc.upstream_rq_active",  # streams to extproc
        "cluster.target_aws-mcp.upstream_rq_active",
        "cluster.target_vault.upstream_rq_active",
        "cluster.target_bombs.upstream_rq_active",
        "cluster.target_scarce.upstream_rq_active",
        "http.ingress.downstream_rq_active",
    ):
        until(lambda name=name: envoy_stat(stack, name) == 0, name)
    for stats in (stack.control("mcp", "stats"), vault.control("stats")):
        assert stats["received"] == stats["verified"]
        assert stats["bearer_seen"] == 0


async def holding(stack, token, request, count):
    """Send so many requests on connections of their own; the connections."""
    host, _, port = stack.addresses.envoy.rpartition(":")
    head = (
        f"{request[0]}\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{request[1]}\r\n{request[2]}".encode()
    )
    links = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        links.append((reader, writer))
    return links


async def left(links):
    for _, writer in links:
        writer.transport.abort()
    await asyncio.sleep(0)


@pytest.mark.parametrize("prefix", [COUNTED, UNCOUNTED], ids=["counted", "uncounted"])
async def test_a_thousand_held_event_streams_of_one_user(vault, prefix):
    stack = vault.stack
    token = await asyncio.to_thread(stack.token, "demo-admin")
    with (
        growing_by_at_most(stack, 100 * MIB, f"{HELD} event streams"),
        others_are_served(stack, prefix) as others,
    ):
        links = await holding(stack, token, (f"GET {prefix}{HOLD} HTTP/1.1", "", ""), HELD)
        lines = [await asyncio.wait_for(reader.readline(), 60) for reader, _ in links]
        assert {line[9:12] for line in lines} == {b"200"}
        if prefix == COUNTED:
            assert await asyncio.to_thread(counted, stack, "open") >= HELD
        await asyncio.to_thread(others.more, 30)
        name = f"cluster.target_{'aws-mcp' if prefix == COUNTED else 'vault'}.upstream_rq_active"
        assert await asyncio.to_thread(envoy_stat, stack, name) >= HELD  # all are still open
        print(f"\n{len(others.answers)} answers to others")
        await left(links)
    await asyncio.to_thread(nothing_is_left, vault)


async def test_a_thousand_event_streams_where_there_is_room_for_27(vault):
    stack = vault.stack
    token = await asyncio.to_thread(stack.token, "demo-admin")
    with (
        growing_by_at_most(stack, 100 * MIB, f"{HELD} event streams at the limit"),
        others_are_served(stack, SCARCE) as others,
    ):
        links = await holding(stack, token, (f"GET {SCARCE}{HOLD} HTTP/1.1", "", ""), HELD)
        statuses = [(await asyncio.wait_for(reader.readline(), 60))[9:12] for reader, _ in links]
        assert set(statuses) == {b"200", b"429"}
        assert statuses.count(b"200") == 14
        await asyncio.to_thread(others.more, 30)
        print(f"\n{len(others.answers)} answers to others, {statuses.count(b'429')} refusals")
        await left(links)
    await asyncio.to_thread(nothing_is_left, vault)


@pytest.mark.parametrize("prefix", [COUNTED, UNCOUNTED], ids=["counted", "uncounted"])
async def test_a_thousand_requests_whose_bodies_do_not_end(vault, prefix):
    stack = vault.stack
    token = await asyncio.to_thread(stack.token, "demo-admin")
    abandoned = metric(stack, "streams_abandoned_total")
    with (
        growing_by_at_most(stack, 100 * MIB, f"{HELD} bodies that do not end"),
        others_are_served(stack, prefix) as others,
    ):
        request = (f"POST {prefix}/echo HTTP/1.1", "Content-Length: 100000\r\n", "x" * 1000)
        links = await holding(stack, token, request, HELD)
        streams = "cluster.extproc.upstream_rq_active"
        await asyncio.to_thread(until, lambda: envoy_stat(stack, streams) >= HELD, "all are with extproc")
        await asyncio.to_thread(others.more, 30)
        assert await asyncio.to_thread(envoy_stat, stack, streams) >= HELD
        print(f"\n{len(others.answers)} answers to others")
        await left(links)
    await asyncio.to_thread(nothing_is_left, vault)
    assert metric(stack, "streams_abandoned_total") == abandoned + HELD
    # Not one of those went on.
    upstreams = (vault.control("stats"), stack.control("mcp", "stats"))
    assert sum(upstream["received"] for upstream in upstreams) == len(others.answers)


def test_five_thousand_streams_reset_at_any_moment(vault):
    stack = vault.stack
    token = stack.token("demo-admin")
    resets = envoy_stat(stack, "http.ingress.downstream_rq_rx_reset")
    with (
        growing_by_at_most(stack, 100 * MIB, f"{RESETS} resets"),
        others_are_served(stack) as others,
    ):
        sent = 0
        # Envoy ends a connection with hundreds of early resets; an attacker opens another.
        for number in range(RESETS // ON_ONE_CONNECTION):
            prefix = (COUNTED, UNCOUNTED)[number % 2]
            held_for = (0.0, 0.002, 0.02, 0.1)[number // 2 % 4]
            sent += open_and_reset(stack, token, f"{prefix}{HOLD}", ON_ONE_CONNECTION, held_for=held_for)
        assert sent == RESETS
        seen = "http.ingress.downstream_rq_rx_reset"
        until(lambda: envoy_stat(stack, seen) == resets + RESETS, "Envoy has seen all resets")
        others.more(30)
        print(f"\n{len(others.answers)} answers to others")
    nothing_is_left(vault)


async def test_fifteen_hundred_idle_connections(vault):
    """Of those that never said anything, that were served once, and that began with HTTP/2."""
    stack = vault.stack
    token = await asyncio.to_thread(stack.token, "demo-admin")
    host, _, port = stack.addresses.envoy.rpartition(":")
    served_once = f"GET /echo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # and empty SETTINGS
    connections = "http.ingress.downstream_cx_active"
    with (
        growing_by_at_most(stack, 50 * MIB, f"{IDLE} idle connections"),
        others_are_served(stack) as others,
    ):
        links = []
        for number in range(IDLE):
            links.append(await asyncio.open_connection(host, int(port)))
            links[-1][1].write((b"", served_once, http2)[number % 3])
        for reader, _ in links[1::3]:
            assert (await asyncio.wait_for(reader.readline(), 60))[9:12] == b"200"
        for reader, _ in links[2::3]:
            assert await asyncio.wait_for(reader.read(1), 60)  # Envoy's SETTINGS
        await asyncio.to_thread(until, lambda: envoy_stat(stack, connections) >= IDLE, "all are connected")
        await asyncio.to_thread(others.more, 30)
        assert await asyncio.to_thread(envoy_stat, stack, connections) >= IDLE
        print(f"\n{len(others.answers)} answers to others")
        await left(links)
    await asyncio.to_thread(until, lambda: envoy_stat(stack, connections) < 10, "none is connected")
    await asyncio.to_thread(nothing_is_left, vault)


def chunked(body):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize(
    ("prefix", "encoding", "framed"),
    [(COUNTED, "gzip", False), (UNCOUNTED, "gzip, gzip", False), (UNCOUNTED, "aws-chunked, gzip", True)],
)
async def test_gzip_bombs_as_request_bodies_are_signed_as_they_are(vault, prefix, encoding, framed):
    stack = vault.stack
    body = bomb()
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    if framed:
        headers["x-amz-content-sha256"] = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        headers["x-amz-decoded-content-length"] = str(len(body))
    token = await asyncio.to_thread(stack.token, "demo-admin")
    content = chunked(body) if framed else body
    with (
        growing_by_at_most(stack, 400 * MIB, f"bombs of {len(body)} bytes, {encoding}"),
        others_are_served(stack, prefix) as others,
    ):
        async with client(token=token, timeout=60) as http:
            asking = (
                http.post(f"http://{stack.addresses.envoy}{prefix}/bomb", content=content, headers=headers)
                for _ in range(4)
            )
            for answered in await asyncio.gather(*asking):
                assert answered.status_code == 200, answered.text
                told = answered.json()
                assert told["body_length"] == len(body)
                assert told["body_sha256"] == hashlib.sha256(body).hexdigest()
        await asyncio.to_thread(others.more, 10)
        print(f"\n{len(others.answers)} answers to others")
    await asyncio.to_thread(nothing_is_left, vault)
    seen = vault.seen if prefix == UNCOUNTED else stack.control("mcp", "requests")
    codings = [dict(one["headers"])["content-encoding"] for one in seen if one["raw_path"] == "/bomb"]
    assert codings == [encoding.removeprefix("aws-chunked, ")] * 4


async def test_gzip_bombs_as_answers_that_are_looked_at_go_to_the_client_as_they_are(vault, bombs):
    stack = vault.stack
    bombs.received.clear()
    token = await asyncio.to_thread(stack.token, "demo-admin", jti=f"bombs-{next(_numbers)}")
    before = metric(stack, "upstream_answers_total", target="bombs")
    with (
        growing_by_at_most(stack, 100 * MIB, "bombs as answers"),
        others_are_served(stack) as others,
    ):
        async with client(token=token, timeout=60) as http:
            for path, (status, _, body) in bombs.answers.items():
                url = f"http://{stack.addresses.envoy}/bombs{path}"
                async with http.stream("GET", url) as answered:
                    raw = b"".join([part async for part in answered.aiter_raw()])
                assert (answered.status_code, raw == body) == (status, True), path
        await asyncio.to_thread(others.more, 10)
        print(f"\n{len(others.answers)} answers to others")
    assert metric(stack, "upstream_answers_total", target="bombs") == before + len(bombs.answers)
    assert len(bombs.received) == len(bombs.answers)
    for head in bombs.received:
        assert head["authorization"].startswith("AWS4-HMAC-SHA256 Credential=")
        assert token not in str(head)
    await asyncio.to_thread(nothing_is_left, vault)
