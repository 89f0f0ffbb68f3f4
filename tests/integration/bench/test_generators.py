"""The load generators against a server that counts."""

import http.server
import shutil

import pytest

from bench.load import Fallback, Wrk, http_request
from support.served import served

BODY = b"x" * 150
WRK = shutil.which("wrk")


class CountingServer(http.server.ThreadingHTTPServer):
    """Remembers who asked; answers 403 to ``refused``."""

    daemon_threads = True

    def __init__(self):
        self.seen = []
        self.broken = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        user = self.headers["authorization"]
        self.server.seen.append(user)
        if body != BODY:
            self.server.broken.append(body)
        self.send_response(403 if user == "Bearer refused" else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with served(CountingServer()) as running:
        yield running


GENERATORS = [
    pytest.param(Fallback, id="fallback"),
    pytest.param(
        lambda: Wrk(WRK), id="wrk", marks=pytest.mark.skipif(WRK is None, reason="wrk is not installed")
    ),
]


@pytest.mark.parametrize("make", GENERATORS)
def test_every_answer_is_counted_and_timed(server, make):
    requests = [http_request(token=f"user{n}", body=BODY) for n in range(3)]
    load = make().run(server.server_port, requests, connections=4, seconds=1)
    assert load.failures == 0
    # Each connection may end with a request whose answer nobody waited for.
    assert load.requests <= len(server.seen) <= load.requests + 4
    assert load.requests > 0
    assert 0 < load.p50 <= load.p99 <= load.p999
    assert load.rate == pytest.approx(load.requests / load.seconds)
    assert load.cpu > 0


@pytest.mark.parametrize("make", GENERATORS)
def test_all_users_take_turns_and_bodies_arrive_whole(server, make):
    requests = [http_request(token=f"user{n}", body=BODY) for n in range(3)]
    make().run(server.server_port, requests, connections=2, seconds=1)
    assert set(server.seen) == {f"Bearer user{n}" for n in range(3)}
    assert server.broken == []


@pytest.mark.parametrize("make", GENERATORS)
def test_what_is_refused_is_a_failure(server, make):
    requests = [http_request(token=name, body=BODY) for name in ("refused", "user")]
    load = make().run(server.server_port, requests, connections=1, seconds=1)
    assert load.failures == pytest.approx(load.requests / 2, abs=1)


def test_the_fallback_says_that_it_is_one():
    assert "wrk was not found" in Fallback().name


def test_a_server_that_goes_away_fails_the_round():
    with CountingServer() as gone:
        port = gone.server_port
    with pytest.raises(RuntimeError, match="load generator failed"):
        Fallback().run(port, [http_request(body=BODY)], connections=2, seconds=1)
