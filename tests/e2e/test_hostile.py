"""Hostile requests through the real Envoy: a 400, or a signature that the independent verifier accepts."""

import socket

import pytest

from support.http import raw

BODY = "Content-Length: 2\r\nConnection: close\r\n\r\n{}"
POST = "POST /echo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/aws-mcp/aws4_request, SignedHeaders=host, Signature=0"
)
MATRIX = {
    # The client's own AWS headers.
    "x-amz-date": POST + "X-Amz-Date: 20150830T123600Z\r\n" + BODY,
    "x-amz-security-token": POST + "X-Amz-Security-Token: theirs\r\n" + BODY,
    "x-amz-content-sha256": POST + "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n" + BODY,
    "x-amz-content-sha256 streaming": POST + "X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\n" + BODY,
    "x-amz-anything, twice": POST + "X-Amz-Meta-A: 1\r\nx-amz-meta-a: 2\r\nX-Amz-Target: Other.Op\r\n" + BODY,
    "an SDK's x-amz-user-agent": POST + "X-Amz-User-Agent: aws-sdk-js/3\r\n" + BODY,
    "another user's id": POST + "X-Amzn-Bedrock-AgentCore-Runtime-User-Id: boss\r\n" + BODY,
    "parts of a signature": POST + "X-Amz-Credential: A\r\nX-Amz-Signature: 0\r\n" + BODY,
    "x-amz with odd characters": POST + "X-Amz-A_b.c!: 1\r\n" + BODY,
    "x-amzn-trace-id": POST + "X-Amzn-Trace-Id: Root=1\r\n" + BODY,
    "date": POST + "Date: Mon, 01 Jan 2001 00:00:00 GMT\r\n" + BODY,
    "an aws authorization": "POST /echo HTTP/1.1\r\nHost: x\r\nAuthorization: " + SIGNATURE + "\r\n" + BODY,
    "both authorizations": POST + "Authorization: " + SIGNATURE + "\r\n" + BODY,
    "proxy-authorization": POST + "Proxy-Authorization: Bearer {token}\r\n" + BODY,
    "a token in a cookie": POST + "Cookie: t={token}\r\n" + BODY,
    "our own metadata as a header": POST + "x-extproc-target: refused\r\n" + BODY,
    # Headers that Connection names are removed on the way.
    "connection: host": POST + "Connection: host, content-type\r\nContent-Type: a/b\r\n" + BODY,
    "connection: x-amz-date": POST + "Connection: x-amz-date, x-amz-security-token\r\n" + BODY,
    "connection: content-type": POST + "Content-Type: a/b\r\nConnection: close, content-type\r\n" + BODY,
    "connection: content-length": POST + "Connection: content-length, close\r\n" + BODY,
    "keep-alive": POST + "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n" + BODY,
    # Host and target.
    "another host": POST.replace("Host: x", "Host: evil.example") + BODY,
    "the target's host and a port": POST.replace("Host: x", "Host: aws-mcp.us-east-1.api.aws:443") + BODY,
    "two hosts": POST + "Host: y\r\n" + BODY,
    "no host": POST.replace("Host: x\r\n", "") + BODY,
    "empty host": POST.replace("Host: x", "Host: ") + BODY,
    "a host with a user": POST.replace("Host: x", "Host: a@b") + BODY,
    "x-forwarded-host": POST + "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n" + BODY,
    "x-envoy": POST + "x-envoy-original-path: /other\r\nx-envoy-decorator-operation: a\r\nX-Original-Url: /b\r\n" + BODY,
    "absolute form": POST.replace("POST /echo", "POST http://evil.example/echo") + BODY,
    "absolute form of the target": POST.replace("POST /echo", "POST https://aws-mcp.us-east-1.api.aws/echo") + BODY,
    "absolute form with dots": POST.replace("POST /echo", "POST http://x/a/../echo") + BODY,
    "asterisk form": POST.replace("POST /echo", "OPTIONS *") + BODY,
    "authority form": POST.replace("POST /echo", "POST evil.example:443") + BODY,
    "connect": POST.replace("POST /echo", "CONNECT evil.example:443") + BODY,
    "a presigned query": POST.replace("/echo", "/echo?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0") + BODY,
    "a presigned query, hidden": POST.replace("/echo", "/echo?%58-amz-%53ignature=0") + BODY,
    "a presigned token": POST.replace("/echo", "/echo?a=1&x-amz-security-token=t") + BODY,
    # Framing.
    "chunked": POST + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked with trailers": POST
    + "Transfer-Encoding: chunked\r\nTrailer: x-amz-date\r\nConnection: close\r\n\r\n"
    + "2\r\n{}\r\n0\r\nX-Amz-Date: 20150830T123600Z\r\nAuthorization: Bearer {token}\r\n\r\n",
    "chunked with extensions": POST
    + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n",
    "chunked and sized": POST + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "gzip, chunked": POST + "Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "chunked, twice": POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "identity": POST + "Transfer-Encoding: identity\r\n" + BODY,
    "obfuscated chunked": POST + "Transfer-Encoding: xchunked\r\n" + BODY,
    "two lengths": POST + "Content-Length: 3\r\n" + BODY,
    "two equal lengths": POST + "Content-Length: 2\r\n" + BODY,
    "a negative length": POST + "Content-Length: -2\r\nConnection: close\r\n\r\n{}",
    "te": POST + "TE: trailers, deflate\r\n" + BODY,
    # What is signed must be one thing.
    "two content types": POST + "Content-Type: a/b\r\nContent-Type: c/d\r\n" + BODY,
    "a content type with spaces": POST + 'Content-Type:   a/b;  x="1  2"  \r\n' + BODY,
    "a content type that is not ascii": POST + "Content-Type: a/\xe9\r\n" + BODY,
    "an empty content type": POST + "Content-Type:\r\n" + BODY,
    "a folded header": POST + "Content-Type: a/b;\r\n x=y\r\n" + BODY,
    "content-encoding": POST + "Content-Encoding: gzip\r\nContent-Type: application/json\r\n" + BODY,
    "upgrade": POST + "Connection: Upgrade\r\nUpgrade: websocket\r\n" + BODY,
    "h2c upgrade": POST + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n" + BODY,
    "an unknown method": POST.replace("POST", "BREW") + BODY,
    "a method that overrides": POST + "X-HTTP-Method-Override: DELETE\r\n" + BODY,
}  # fmt: skip
SIGNED = [
    "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "an SDK's x-amz-user-agent", "proxy-authorization",
    "a token in a cookie", "our own metadata as a header", "another host", "absolute form", "x-forwarded-host",
    "x-envoy", "chunked", "chunked with trailers", "te", "a content type with spaces", "content-encoding",
]  # fmt: skip
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
