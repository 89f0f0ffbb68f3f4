"""Requests that the real Envoy gives up: counted, in the audit log, and nothing of them goes upstream."""

import contextlib
import json
import re
import socket
import time

import pytest

from support.envoys import further_envoy
from support.http import raw
from support.stacks import Stack


@pytest.fixture(scope="module", params=["completion_queue", "aio"])
def own_stack(request, tmp_path_factory):
    engine = f"listen:\n  engine: {request.param}\n"
    # No call is tried again while STS is slow, however busy the machine is.
    patient = "sts:\n  timeout: 20\n  deadline: 30\n"

    def adjust(text):
        return text.replace("listen:\n", engine, 1).replace("sts:\n", patient, 1)

    with Stack(tmp_path_factory.mktemp(request.param), adjust=adjust) as stack:
        yield stack


def audited(stack, path, *, within=10.0):
    """The events about a path, as decision and detail; waits for one."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        events = [json.loads(line) for line in (stack.directory / "audit.log").read_text().splitlines()]
        found = [(event["decision"], event["detail"]) for event in events if event["path"] == path]
        if found:
            return found
        time.sleep(0.02)
    return []


def counted(stack, phase):
    text = stack.http.request("GET", f"http://{stack.addresses.extproc_admin}/metrics").data.decode()
    (value,) = (
        line.rpartition(" ")[2]
        for line in text.splitlines()
        if line.startswith(f'extproc_streams_abandoned_total{{phase="{phase}"}}')
    )
    return float(value)


def exchanges(stack):
    return stack.control("sts", "stats")["calls"]


def warm_token(stack):
    """A token whose credentials are there already."""
    token = stack.token("demo-admin")
    assert raw(stack.addresses.envoy, head("GET", "/echo", token, "Connection: close"))[9:12] == b"200"
    return token


def head(method, path, token, *more):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *more, "", ""]
    return "\r\n".join(lines).encode()


def connect(stack):
    host, _, port = stack.addresses.envoy.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_a_client_that_leaves_during_the_exchange_and_the_next_request_has_its_result(own_stack):
    token = own_stack.token("demo-admin")
    before = counted(own_stack, "deciding")
    own_stack.control("sts", "faults", {"mode": "slow", "delay": 2, "count": 1})
    asked = exchanges(own_stack)
    with connect(own_stack) as client:
        client.sendall(head("GET", "/echo/left", token))
        while exchanges(own_stack) == asked:
            time.sleep(0.02)
    assert audited(own_stack, "/echo/left") == [("abandoned", "deciding")]
    assert counted(own_stack, "deciding") == before + 1
    assert (
        raw(own_stack.addresses.envoy, head("GET", "/echo/next", token, "Connection: close"))[9:12] == b"200"
    )
    assert exchanges(own_stack) == asked + 1
    assert "/echo/left" not in [seen["raw_path"] for seen in own_stack.control("mcp", "requests")]


def test_envoys_message_timeout_is_a_504_that_is_noted_and_the_next_request_has_its_result(
    own_stack, tmp_path
):
    def impatient(text):
        return re.sub(r"message_timeout: \S+", "message_timeout: 0.500s", text)

    token = own_stack.token("demo-admin")
    before, asked = counted(own_stack, "deciding"), exchanges(own_stack)
    own_stack.control("sts", "faults", {"mode": "slow", "delay": 1.5, "count": 1})
    with further_envoy(own_stack, tmp_path, impatient) as envoy:
        address = envoy.removeprefix("http://")
        late = raw(address, head("GET", "/echo/late", token, "Connection: close"))
        assert late[9:12] == b"504"
        assert audited(own_stack, "/echo/late") == [("abandoned", "deciding")]
        assert counted(own_stack, "deciding") == before + 1
    # By the patient one: the exchange has gone on.
    again = raw(own_stack.addresses.envoy, head("GET", "/echo/again", token, "Connection: close"))
    assert again[9:12] == b"200"
    assert exchanges(own_stack) == asked + 1
    assert "/echo/late" not in [seen["raw_path"] for seen in own_stack.control("mcp", "requests")]


def test_a_client_that_leaves_before_its_body_is_there(own_stack):
    before = counted(own_stack, "body")
    with connect(own_stack) as client:
        client.sendall(
            head("POST", "/echo/half", own_stack.token("demo-admin"), "Content-Length: 10") + b"half"
        )
        time.sleep(1)  # for our "continue", which nothing here shows
    assert audited(own_stack, "/echo/half") == [("abandoned", "body")]
    assert counted(own_stack, "body") == before + 1


def test_a_body_larger_than_envoys_buffer(own_stack):
    length = 11 * 2**20
    token = warm_token(own_stack)
    with connect(own_stack) as client:
        client.sendall(head("POST", "/echo/large", token, "Transfer-Encoding: chunked"))
        with contextlib.suppress(ConnectionError):
            client.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (length, b"x" * length))
        answer = client.recv(100)
    assert answer[9:12] == b"413"
    assert audited(own_stack, "/echo/large") == [("deny", "over Envoy's buffer")]


def test_a_client_that_is_too_slow_for_envoy(own_stack, tmp_path):
    def impatient(text):
        return re.sub(r" request_timeout: \S+", " request_timeout: 0.500s", text)

    before, token = counted(own_stack, "body"), warm_token(own_stack)
    with further_envoy(own_stack, tmp_path, impatient) as envoy:
        late = raw(
            envoy.removeprefix("http://"), head("POST", "/echo/slow", token, "Content-Length: 10") + b"half"
        )
    assert late[9:12] == b"408"
    assert audited(own_stack, "/echo/slow") == [("abandoned", "body")]
    assert counted(own_stack, "body") == before + 1
