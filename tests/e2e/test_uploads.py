"""Bodies over the limit, however they come: 413 each time, whether or not extproc looks at the answer."""

import concurrent.futures
import contextlib
import itertools
import socket
import time

import pytest
import yaml

from support.stacks import Stack

LIMIT = 64 * 1024
SHAPES = list(itertools.product([LIMIT + 1, 20 * LIMIT], [1, 3], [0.0, 0.003], [True, False], [True, False]))


@pytest.fixture(scope="module", params=["completion_queue", "aio"])
def small_bodies(request, tmp_path_factory):
    def adjust(text):
        settings = yaml.safe_load(text)
        settings["listen"]["engine"] = request.param
        settings["limits"] = {**settings.get("limits", {}), "request_body_bytes": LIMIT}
        return yaml.safe_dump(settings)

    with Stack(tmp_path_factory.mktemp("uploads"), adjust=adjust) as stack:
        yield stack, _half(odd=request.param == "aio")


def _half(*, odd):
    """Return half of the shapes, in which any four of the five properties have all their combinations."""
    return [shape for number, shape in enumerate(SHAPES) if number.bit_count() % 2 == odd]


def upload(stack, token, path, *, size, parts, pause, chunked, mcp):
    """The status of one upload, of which so much is sent as Envoy takes."""
    host, _, port = stack.addresses.envoy.rpartition(":")
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    accept = "Accept: application/json, text/event-stream\r\n" if mcp else ""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{accept}{length}\r\n\r\n"
    received = b""
    with socket.create_connection((host, int(port)), timeout=20) as link:
        with contextlib.suppress(ConnectionError):
            link.sendall(head.encode())
            for number in range(parts):
                time.sleep(pause)  # so some parts come before the answer to the head, and others after it
                piece = b"x" * (size // parts + (size % parts if number == 0 else 0))
                link.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            link.sendall(b"0\r\n\r\n" if chunked else b"")
        with contextlib.suppress(ConnectionError):
            while chunk := link.recv(65536):
                received += chunk
    return received[9:12].decode()


def test_uploads_over_the_limit_are_a_413_in_every_shape_and_at_any_time_of_a_session(small_bodies):
    stack, shapes = small_bodies
    stack.control("mcp", "reset", {})

    def uploaded(number):
        values = shapes[number]
        shape = dict(zip(("size", "parts", "pause", "chunked", "mcp"), values, strict=True))
        token = stack.token("demo-admin", user=f"user-{number}")
        # The first answers of a session are looked at, Envoy's own included.
        return {
            (*values, again): upload(stack, token, f"/upload/{number}/{again}", **shape) for again in range(2)
        }

    answers = {}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for told in pool.map(uploaded, range(len(shapes))):
            answers.update(told)
    # Nothing where Envoy closed the connection on what it had not read, which takes the answer with it.
    assert set(answers.values()) <= {"413", ""}, answers
    assert sum(status == "413" for status in answers.values()) > len(answers) // 2
    assert stack.control("mcp", "stats")["received"] == 0
