"""Hostile requests through the real Envoy: a 400, or a signature that the independent verifier accepts."""

import socket

import pytest

from support.hostile import MATRIX, POST, SIGNED
from support.http import raw

UNSIGNED_BY_RIGHT = ["an aws authorization"]  # no bearer token: told how to get one
# Envoy itself refuses these, in its own way, before any filter.
REFUSED_BY_ENVOY = {
    "upgrade": 403,
    "h2c upgrade": 403,
    "absolute form of the target": 403,
    "asterisk form": 404,
}


def send(stack, name):
    request = MATRIX[name].replace("{token}", stack.token("demo-admin"))
    return int(raw(stack.addresses.envoy, request.encode("latin-1"))[9:12])


@pytest.mark.parametrize("name", MATRIX)
def test_a_hostile_request_gets_a_400_or_a_correct_signature(stack, name):
    status = send(stack, name)
    stats = stack.control("mcp", "stats")
    assert stats["rejected"] == 0
    assert stats["bearer_seen"] == 0
    if status == 200:
        (seen,) = stack.control("mcp", "requests")
        headers = dict(seen["headers"])
        assert seen["outcome"] == "verified"
        assert headers["host"] == "aws-mcp.us-east-1.api.aws"
        assert not {n for n in headers if n.startswith(("x-forwarded-", "x-envoy-"))} | {
            n for n in headers if n in ("forwarded", "via", "te", "cookie", "proxy-authorization")
        }
        return
    assert stats["received"] == 0
    if name in UNSIGNED_BY_RIGHT:
        assert status in (400, 401)
    elif name in REFUSED_BY_ENVOY:
        assert status in (400, REFUSED_BY_ENVOY[name])
    else:
        assert status in (400, 501 if "ransfer-Encoding" in MATRIX[name] else 400)


@pytest.mark.parametrize("name", SIGNED)
def test_what_is_merely_unusual_is_served(stack, name):
    assert send(stack, name) == 200


def test_expect_continue_is_answered_before_the_body_and_the_request_is_signed(stack):
    host, _, port = stack.addresses.envoy.rpartition(":")
    head = POST.replace("{token}", stack.token("demo-admin")) + (
        "Expect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"hello")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200 ")
    (seen,) = stack.control("mcp", "requests")
    assert (seen["outcome"], seen["body_length"]) == ("verified", 5)
    assert "expect" not in dict(seen["headers"])


def test_the_request_id_goes_upstream_so_that_logs_can_be_joined(stack):
    send(stack, "chunked")
    (seen,) = stack.control("mcp", "requests")
    assert "x-request-id" in dict(seen["headers"])
