"""Requests that end when they must, against servers that send whatever they like, on real sockets."""

import contextlib
import gzip
import socket
import ssl
import threading
import time

import pytest

from extproc.sts.https import MAX_BODY_BYTES, HttpError, HttpOrigin, _Socket
from support.certificates import Authority, dns

LONG = 15.0  # seconds: by then a request that does not end fails its test
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n\r\nok"


class Server:
    """Accepts connections; ``behave(connection, number)`` does as it likes with each of them."""

    def __init__(self, behave):
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self.over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection, number):
        with connection, contextlib.suppress(OSError):
            self._behave(connection, number)

    def drip(self, connection, content, *, every=0.05):
        """Send byte by byte, for as long as a test may take."""
        for position in range(len(content)):
            if self.over.wait(every):
                return
            connection.sendall(content[position : position + 1])

    def close(self):
        self.over.set()
        self._listener.close()


def read_request(connection):
    """Return one whole request."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65536)
        if not more:
            raise OSError("closed")
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(
        next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split(b":")[
            1
        ]
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


@pytest.fixture
def start():
    servers = []

    def serve(behave):
        servers.append(Server(behave))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def origin():
    made = []

    def make(server, *, scheme="http", host="127.0.0.1", tls=None, **more):
        made.append(
            HttpOrigin(
                f"{scheme}://{host}:{server.port}",
                max_idle=4,
                tls=lambda: tls or ssl.create_default_context(),
                **more,
            )
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def post(to, *, within=LONG, body=b"a=b"):
    return to.post("/", {"content-type": "text/plain"}, body, until=time.monotonic() + within)


def answering(*answers):
    """Read one request and send the next of the answers; one for each connection."""

    def behave(connection, number):
        read_request(connection)
        connection.sendall(answers[min(number, len(answers)) - 1])

    return behave


def test_the_answer_comes_whole_and_the_request_went_out_as_it_should(start, origin):
    seen = []

    def behave(connection, _):
        seen.append(read_request(connection))
        connection.sendall(GOOD)

    server = start(behave)
    answer = post(origin(server))
    assert (answer.status, answer.body, dict(answer.headers)["x-a"]) == (200, b"ok", "b")
    ((head, body),) = seen
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST / HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}".encode() in lines
    assert b"Accept-Encoding: identity" in lines
    assert body == b"a=b"


def test_a_document_is_fetched_without_a_body(start, origin):
    seen = []

    def behave(connection, _):
        seen.append(connection.recv(65536))
        connection.sendall(GOOD)

    answer = origin(start(behave)).get(
        "/metadata", {"accept": "application/json"}, until=time.monotonic() + LONG
    )
    assert (answer.status, answer.body) == (200, b"ok")
    assert seen[0].startswith(b"GET /metadata HTTP/1.1\r\n")
    assert seen[0].endswith(b"\r\n\r\n")


HEAD = b"HTTP/1.1 200 OK\r\n"
DRIPPED = {
    "the body": (HEAD + b"content-length: 1000\r\n\r\n", b"x" * 1000),
    "the status line": (b"", GOOD + b" " * 1000),
    "a header": (HEAD + b"x: ", b"y" * 1000),
    "headers": (HEAD, b"a:b\r\n" * 300),
    "chunks": (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 300),
    "a chunk's extension": (HEAD + b"transfer-encoding: chunked\r\n\r\n1;", b"e" * 1000),
    "trailers": (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"a:b\r\n" * 300),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 300),
    "what has no length": (HEAD + b"\r\n", b"x" * 1000),
}


@pytest.mark.parametrize("part", DRIPPED)
def test_a_byte_now_and_then_holds_no_thread_longer_than_allowed(start, origin, part):
    at_once, dripped = DRIPPED[part]

    def behave(connection, _):
        read_request(connection)
        connection.sendall(at_once)
        server.drip(connection, dripped)

    server = start(behave)
    with pytest.raises(HttpError, match="timed out"):
        post(origin(server), within=0.3)


def test_a_server_that_reads_no_request_holds_no_thread(start, origin):
    def behave(_connection, _):
        server.over.wait(LONG)

    server = start(behave)
    with pytest.raises(HttpError, match="timed out"):
        post(origin(server), within=0.3, body=b"x" * 50_000_000)


def test_one_that_reads_slowly_holds_no_thread(start, origin):
    def behave(connection, _):
        while connection.recv(1) and not server.over.wait(0.05):
            pass

    server = start(behave)
    with pytest.raises(HttpError, match="timed out"):
        post(origin(server), within=0.3, body=b"x" * 50_000_000)


FLOODS = {
    "a long body": HEAD + b"content-length: 600000000\r\n\r\n",
    "chunks": HEAD + b"transfer-encoding: chunked\r\n\r\n",
    "a body without a length": HEAD + b"\r\n",
    "interim answers": b"",
    "headers": HEAD,
}
FLOOD = {
    "chunks": b"1000\r\n" + b"x" * 4096 + b"\r\n",
    "interim answers": b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n" * 100,
    "headers": b"x: y\r\n" * 500,
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_is_cut_off_and_little_of_it_is_received(start, origin, what):
    sent = []

    def behave(connection, _):
        read_request(connection)
        connection.sendall(FLOODS[what])
        for _ in range(20_000):  # 80 MB and more
            connection.sendall(FLOOD.get(what, b"x" * 4096))
            sent.append(4096)

    server = start(behave)
    with pytest.raises(HttpError):
        post(origin(server))
    assert sum(sent) < 40_000_000  # what the kernel's buffers took


def test_a_body_of_just_the_bound_is_taken_and_one_byte_more_is_not(start, origin):
    def of(size):
        return HEAD + b"content-length: %d\r\n\r\n" % size + b"x" * size

    assert len(post(origin(start(answering(of(MAX_BODY_BYTES))))).body) == MAX_BODY_BYTES
    with pytest.raises(HttpError, match="too large"):
        post(origin(start(answering(of(MAX_BODY_BYTES + 1)))))


UNUSABLE = {
    "compressed": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 22\r\n\r\n"
    + gzip.compress(b"ok"),
    "cut short": HEAD + b"content-length: 5\r\n\r\nok",
    "chunks cut short": HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nok",
    "a last answer that is interim": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.9\r\n",
    "nothing": b"",
    "a length that is none": HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "a long line": HEAD + b"x: " + b"y" * 70_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_what_is_no_whole_plain_answer_is_an_error_that_quotes_nothing(start, origin, what):
    with pytest.raises(HttpError) as error:
        post(origin(start(answering(UNUSABLE[what]))))
    assert not {"SSH", "zz", "y" * 10} & {str(error.value), *str(error.value).split()}
    assert error.value.__suppress_context__


def test_a_redirect_is_an_answer_like_others_and_is_not_followed(start, origin):
    other = start(answering(GOOD))
    to = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:%d/\r\ncontent-length: 0\r\n\r\n"
    assert post(origin(start(answering(to % other.port)))).status == 307
    assert other.connections == 0


# -- kept connections --------------------------------------------------------------------


def serving(after_each=b""):
    def behave(connection, _):
        while True:
            read_request(connection)
            connection.sendall(GOOD + after_each)

    return behave


def test_a_connection_serves_one_request_after_another(start, origin):
    server = start(serving())
    to = origin(server)
    for _ in range(5):
        assert post(to).body == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize("more", [b" ", b"\r\n", GOOD, GOOD * 100])
def test_bytes_after_an_answer_are_never_the_answer_to_the_next_request(start, origin, more):
    server = start(serving(after_each=more))
    to = origin(server)
    for _ in range(3):
        assert post(to).body == b"ok"
    assert server.connections == 3


def test_bytes_that_come_while_a_connection_is_idle_are_never_the_answer_to_the_next_request(start, origin):
    sent = threading.Semaphore(0)

    def behave(connection, _):
        read_request(connection)
        connection.sendall(GOOD)
        came.wait(LONG)
        connection.sendall(GOOD.replace(b"ok", b"no"))
        sent.release()
        server.over.wait(LONG)

    came = threading.Event()
    server = start(behave)
    to = origin(server)
    assert post(to).body == b"ok"
    came.set()
    assert sent.acquire(timeout=LONG)
    time.sleep(0.05)  # loopback delivers at once, though another thread may be due first
    assert post(to).body == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [GOOD.replace(b"x-a: b", b"connection: close"), GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), HEAD + b"\r\nok"],
)
def test_a_connection_that_ends_is_not_used_again(start, origin, answer):
    server = start(answering(answer))
    to = origin(server)
    for _ in range(2):
        assert post(to).body == b"ok"
    assert server.connections == 2


def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used_again(start, origin):
    server = start(answering(GOOD))
    to = origin(server)
    for _ in range(3):
        assert post(to).body == b"ok"
        time.sleep(0.05)  # until the end has come
    assert server.connections == 3


def test_after_a_failure_no_idle_connection_is_trusted(start, origin):
    busy = threading.Barrier(2)

    def behave(connection, number):
        read_request(connection)
        if number <= 2:
            busy.wait(LONG)  # two at a time, so that two are kept
        connection.sendall(GOOD)
        if number <= 2:
            read_request(connection)
            server.over.wait(LONG)  # dead from now on, without saying so
        while True:
            read_request(connection)
            connection.sendall(GOOD)

    server = start(behave)
    to = origin(server)
    pair = [threading.Thread(target=post, args=(to,)) for _ in range(2)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    with pytest.raises(HttpError, match="timed out"):
        post(to, within=0.2)
    assert post(to).body == b"ok"
    assert server.connections == 3


# -- names, addresses and TLS ------------------------------------------------------------


def info(port, address="127.0.0.1"):
    return (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))


def test_an_address_that_refuses_is_followed_by_the_next(start, origin):
    server = start(answering(GOOD))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()[1]
    assert post(origin(server, resolve=lambda *_a, **_k: [info(dead), info(server.port)])).body == b"ok"


def test_a_name_without_addresses_and_one_that_does_not_resolve_are_errors(start, origin):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    server = start(answering(GOOD))
    for resolve in (unknown, lambda *_a, **_k: []):
        with pytest.raises(HttpError):
            post(origin(server, resolve=resolve))


def test_hanging_name_servers_hold_no_thread_and_are_used_again_soon_after_they_recover(start, origin):
    well, asked = threading.Event(), []

    def resolve(*_, **__):
        asked.append(1)
        if len(asked) <= 3:
            well.wait(LONG)  # what hangs goes on hanging
        return [info(server.port)]

    server = start(answering(GOOD))
    to = origin(server, resolve=resolve)
    for _ in range(3):
        with pytest.raises(HttpError, match="timed out"):
            post(to, within=0.1)
    assert len(asked) == 1  # they joined the same lookup
    to._resolver._began = -1e9  # it has taken long by now
    with pytest.raises(HttpError, match="timed out"):
        post(to, within=0.1)
    to._resolver._began = -1e9
    with pytest.raises(HttpError, match="timed out"):
        post(to, within=0.1)
    to._resolver._began = -1e9
    assert post(to).body == b"ok"
    well.set()


def test_lookups_that_hang_are_bounded_in_number(start, origin):
    well, asked = threading.Event(), []

    def resolve(*_, **__):
        asked.append(1)
        well.wait(LONG)
        return []

    to = origin(start(answering(GOOD)), resolve=resolve)
    for _ in range(20):
        to._resolver._began = -1e9
        with pytest.raises(HttpError, match="timed out"):
            post(to, within=0.01)
    assert len(asked) == 8
    well.set()


@pytest.mark.parametrize("bytes_", [b"", b"\x16\x03\x03\x40\x00" + b"\x02" * 1000])
def test_a_tls_handshake_that_never_ends_holds_no_thread(start, origin, bytes_):
    def behave(connection, _):
        server.drip(connection, bytes_)
        server.over.wait(LONG)

    server = start(behave)
    with pytest.raises(HttpError, match="timed out"):
        post(origin(server, scheme="https"), within=0.3)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def encrypted(pair, then):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    def behave(connection, number):
        with context.wrap_socket(connection, server_side=True) as secure:
            then(secure, number)

    return behave


def test_over_tls_all_is_the_same_and_a_drip_ends_too(start, origin, authority):
    pair = authority.issue("localhost", dns("localhost"))
    tls = ssl.create_default_context(cafile=str(authority.certificate))
    server = start(encrypted(pair, serving()))
    to = origin(server, scheme="https", host="localhost", tls=tls)
    assert [post(to).body for _ in range(3)] == [b"ok"] * 3
    assert server.connections == 1

    def dripping(secure, _):
        read_request(secure)
        secure.sendall(HEAD + b"content-length: 1000\r\n\r\n")
        slow.drip(secure, b"x" * 1000)

    slow = start(encrypted(pair, dripping))
    with pytest.raises(HttpError, match="timed out"):
        post(origin(slow, scheme="https", host="localhost", tls=tls), within=0.5)


def test_a_certificate_of_another_name_or_authority_is_refused(start, origin, authority):
    pair = authority.issue("other", dns("other.example"))
    tls = ssl.create_default_context(cafile=str(authority.certificate))
    server = start(encrypted(pair, serving()))
    for context in (tls, ssl.create_default_context()):
        with pytest.raises(HttpError, match="SSLCertVerificationError"):
            post(origin(server, scheme="https", host="localhost", tls=context))


def test_a_request_whose_time_is_over_is_not_begun(start):
    server = start(lambda connection, _: connection.sendall(GOOD))
    origin = HttpOrigin(f"http://127.0.0.1:{server.port}", max_idle=1, tls=ssl.create_default_context)
    with pytest.raises(HttpError, match="timed out"):
        origin.post("/", {}, b"", until=time.monotonic() - 1)
    assert server.connections == 0


def test_an_idle_connection_that_is_closed_on_our_side_is_not_used_again(start):
    def behave(connection, _):
        read_request(connection)
        connection.sendall(GOOD)
        read_request(connection)

    server = start(behave)
    origin = HttpOrigin(f"http://127.0.0.1:{server.port}", max_idle=1, tls=ssl.create_default_context)
    until = time.monotonic() + LONG
    headers = {"content-length": "0"}
    assert origin.post("/", headers, b"", until=until).body == b"ok"
    ((_, _, connected),) = origin._idle
    connected.end()
    assert origin.post("/", headers, b"", until=until).body == b"ok"
    assert server.connections == 2
    origin.close()


def test_the_end_of_an_answer_is_looked_for_once():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connected = _Socket(ours)
        connected.limit(until=time.monotonic() + LONG, bytes_=100)
        reader = connected.makefile("rb")
        theirs.sendall(b"ab")
        assert reader.read(1) == b"a"
        reader.close()
        assert connected.has_more
        connected.has_more = False
        reader.close()
        assert not connected.has_more
