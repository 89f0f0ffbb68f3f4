"""Attacks on the admin listener: other clients are served, memory stays small, and the log stays quiet."""

import concurrent.futures
import contextlib
import json
import re
import resource
import socket
import struct
import threading
from pathlib import Path

import pytest

from extproc.telemetry.repeats import LIMIT
from support import forked
from support.supervised import until

PROBE = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SERVER = """
import signal, sys
from extproc.admin import patience
from extproc.admin.http import AdminServer
from extproc.telemetry import logs
from extproc.telemetry.metrics import Metrics
for name, value in [it.split("=") for it in sys.argv[1:]]:
    setattr(patience, name, float(value))
logs.configure("info")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
server = AdminServer("127.0.0.1:0", registry=Metrics().registry, unready=list)
server.start()
print(server.port, flush=True)
signal.sigwait({signal.SIGTERM})
server.stop()
"""


class Served:
    """A process that serves and logs as the product does."""

    def __init__(self, log: Path, **patience):
        self._log = log
        arguments = [f"{name}={value}" for name, value in patience.items()]
        output = log.with_name("output")
        self.process = forked.Process(["-c", SERVER, *arguments], output, log)
        self.port = int(until(lambda: self.process.poll() is not None or output.read_text(), "no port"))

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0

    def kill(self):
        self.process.kill()
        self.process.wait()

    @property
    def resident(self):
        """Bytes of memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    @property
    def log(self):
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
def serve(tmp_path):
    with contextlib.ExitStack() as cleanup:

        def start(**patience):
            served = Served(tmp_path / "log", **patience)
            cleanup.callback(served.kill)
            return served

        yield start


@pytest.fixture
def server(serve):
    return serve()


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def everything(connection):
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65536):
            received += chunk
    return bytes(received)


def answer(server, request=PROBE):
    with connect(server) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        return everything(connection)


def is_served(server):
    return answer(server).startswith(b"HTTP/1.1 200 OK\r\n")


def assert_quiet(server, reason):
    """Assert that the log has only refused connections, few of them, and nothing of what was sent."""
    assert {line["event"] for line in server.log} <= {"admin_connection_refused"}
    assert {line["reason"] for line in server.log} <= {reason}
    assert len(server.log) <= LIMIT
    assert "canary" not in str(server.log)


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HT", PROBE.replace(b"close", b"keep-alive")])
def test_1500_open_connections_do_not_keep_other_clients_out(server, many_files, sent):
    assert is_served(server)
    before = server.resident
    with contextlib.ExitStack() as held:
        for _ in range(1500):
            held.enter_context(connect(server)).sendall(sent)
        for _ in range(20):
            assert is_served(server)
        assert server.resident < before + 32 * 2**20
    assert_quiet(server, "too_many")


def test_a_request_sent_byte_by_byte_is_ended(serve):
    server = serve(REQUEST_TIMEOUT=0.3)
    over = threading.Event()

    def drip():
        with connect(server) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(PROBE[:10])
            while not over.wait(0.02):
                connection.sendall(b"a")
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        dripping = [pool.submit(drip) for _ in range(20)]
        try:
            assert is_served(server)
            assert all(each.result(20) for each in dripping)
        finally:
            over.set()
    assert_quiet(server, "too_slow")


def test_an_idle_connection_is_closed_and_not_logged(serve):
    server = serve(IDLE_TIMEOUT=0.1)
    received = answer(server, PROBE.replace(b"close", b"keep-alive"))
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.log == []


BAD = {
    "no HTTP": b"\x16\x03\x01canary\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost: x\r\ncanary\r\n\r\n",
    "a control character": b"GET / HTTP/1.1\r\nHost: x\r\nA: canary\x00\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\ncanary",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: canary\r\n\r\n",
    "a chunk that is none": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n",
    "another coding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: canary\r\n\r\n",
    "a giant header": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"canary" * 100_000 + b"\r\n\r\n",
    "a giant line": b"GET /" + b"canary" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"canary: 1\r\n" * 50_000 + b"\r\n",
    "bytes beyond ASCII": "GET /canary\xe9 HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"),
    "nothing but line ends": b"\r\n" * 50_000,
    "nonsense after a request": PROBE.replace(b"close", b"keep-alive") + b"canary\r\n\r\n",
}


@pytest.mark.parametrize("request_", BAD.values(), ids=BAD)
def test_bytes_that_are_not_a_request_end_only_their_connection(server, request_):
    for _ in range(2 * LIMIT):
        assert b"canary" not in answer(server, request_)
    assert is_served(server)
    assert_quiet(server, "bad_request")


@pytest.mark.parametrize("version", ["x.y", '"\\', "", "1.0.0;version=x", "9" * 5000])
def test_an_invalid_accept_header_gets_metrics_and_is_not_logged(server, version):
    accept = f"Accept: application/openmetrics-text; version={version}\r\nConnection".encode()
    received = answer(server, PROBE.replace(b"healthz", b"metrics").replace(b"Connection", accept))
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"extproc_requests_total" in received
    assert server.log == []


def test_an_upgrade_is_ignored_and_not_logged(server):
    request = PROBE.replace(b"Connection: close", b"Connection: upgrade, close\r\nUpgrade: websocket")
    assert answer(server, request).startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.log == []


def test_pipelined_requests_are_answered_in_order(server):
    one = PROBE.replace(b"close", b"keep-alive")
    received = answer(server, one * 50 + one.replace(b"healthz", b"readyz") * 50 + PROBE)
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 101


def test_clients_that_reset_their_connections_leave_nothing_behind(server):
    for number in range(500):
        connection = connect(server)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall((PROBE, PROBE[:20], PROBE.replace(b"healthz", b"metrics"), PROBE[:1])[number % 4])
        connection.close()
    assert is_served(server)
    assert_quiet(server, "too_many")  # several may be closed before the count is read


def test_responses_that_are_not_read_are_ended(serve):
    server = serve(RESPONSE_TIMEOUT=0.5)
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(request * 100)  # until the server reads no more
        assert is_served(server)
    assert_quiet(server, "too_slow")


def test_stopping_does_not_wait_for_clients(server):
    with connect(server) as silent, connect(server) as half:
        half.sendall(PROBE[:20])
        server.stop()
        for each in (silent, half):
            assert everything(each) == b""
