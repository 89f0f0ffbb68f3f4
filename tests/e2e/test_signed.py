"""What gets through Envoy is signed, exactly once, over exactly the bytes that arrive."""

import asyncio
import hashlib
import os

import pytest

from extproc.demo.driver import drive
from support.http import client, raw

pytestmark = pytest.mark.parametrize("engine", ["completion_queue", "aio"])


async def test_a_real_mcp_client_gets_its_roles_in_both_protocol_modes(stack):
    rows = []
    assert await drive(stack, rows.append), rows
    assert len(rows) == 10


async def test_200_concurrent_first_requests_of_one_user_are_one_exchange(stack):
    token = stack.token("demo-admin")
    url = f"http://{stack.addresses.envoy}/echo"
    async with client(token=token) as http:
        answers = await asyncio.gather(*(http.post(url, content=b"%d" % n) for n in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert stack.control("sts", "stats")["calls"] == 1
    assert stack.control("mcp", "stats")["verified"] == 200


@pytest.mark.parametrize("rounds", [4, pytest.param(20, marks=pytest.mark.long)])  # more of the same
async def test_hundreds_of_posts_are_all_accepted_by_the_independent_verifier(stack, rounds):
    token = stack.token("demo-admin")
    url = f"http://{stack.addresses.envoy}/echo"
    async with client(token=token) as http:
        for _ in range(rounds):
            batch = [os.urandom(150) for _ in range(50)]
            answers = await asyncio.gather(*(http.post(url, content=body) for body in batch))
            for body, answer in zip(batch, answers, strict=True):
                assert answer.status_code == 200
                assert answer.json()["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert stack.control("mcp", "stats") == {
        "received": 50 * rounds,
        "verified": 50 * rounds,
        "rejected": 0,
        "bearer_seen": 0,
    }


@pytest.mark.parametrize("size", [0, 1, 100 * 1024, 10 * 2**20], ids=["0B", "1B", "100KiB", "10MiB"])
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("sized", [True, False], ids=["content-length", "unsized"])
async def test_bodies_of_any_size_and_framing_verify(stack, size, http2, sized):
    body = os.urandom(size)

    async def pieces():
        for start in range(0, size, 65536):
            yield body[start : start + 65536]

    async with client(token=stack.token("demo-admin"), http2=http2) as http:
        url = f"http://{stack.addresses.envoy}/echo"
        answer = await http.post(url, content=body if sized else pieces())
    assert answer.status_code == 200, answer.text
    assert answer.json()["body_length"] == size
    assert answer.json()["body_sha256"] == hashlib.sha256(body).hexdigest()
    (seen,) = stack.control("mcp", "requests")
    assert "transfer-encoding" not in dict(seen["headers"])


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_requests_without_a_body_verify(stack, method, http2):
    async with client(token=stack.token("demo-admin"), http2=http2) as http:
        answer = await http.request(method, f"http://{stack.addresses.envoy}/things?b=2&a=%7e1&a")
    assert answer.status_code == 200, answer.text


async def test_a_body_over_the_limit_gets_413_and_goes_nowhere(stack):
    async with client(token=stack.token("demo-admin")) as http:
        answer = await http.post(f"http://{stack.addresses.envoy}/echo", content=bytes(10 * 2**20 + 1))
    assert answer.status_code == 413
    assert stack.control("mcp", "stats")["received"] == 0


def test_the_upstream_gets_one_authorization_and_none_of_the_clients_aws_headers(stack):
    token = stack.token("demo-admin")
    request = (
        f"POST /echo HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer {token}\r\n"
        "X-Amz-Date: 20200101T000000Z\r\nX-Amz-Date: 20200102T000000Z\r\n"
        "X-Amz-Security-Token: theirs\r\nX-Amz-Security-Token: theirs2\r\n"
        "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\nX-Amz-User-Agent: aws-sdk-js\r\n"
        "Proxy-Authorization: Basic eA==\r\nCookie: a=b\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    )
    answer = raw(stack.addresses.envoy, request.encode())
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    (seen,) = stack.control("mcp", "requests")
    names = [name for name, _ in seen["headers"]]
    assert seen["authorization_count"] == 1
    assert dict(seen["headers"])["authorization"].startswith("AWS4-HMAC-SHA256 ")
    assert dict(seen["headers"])["host"] == "aws-mcp.us-east-1.api.aws"
    assert sorted(name for name in names if name.startswith("x-amz-")) == [
        "x-amz-date",
        "x-amz-security-token",
    ]
    assert "cookie" not in names
    assert "proxy-authorization" not in names
    assert not seen["bearer_seen"]


async def test_a_streamed_answer_is_neither_held_back_nor_cut_when_the_server_restarts(stack):
    token = stack.token("demo-admin")
    url = f"http://{stack.addresses.envoy}/sse?n=15&delay=0.1"
    events = 0
    try:
        async with client(token=token) as http, http.stream("GET", url) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    events += 1
                    if events == 2:
                        # We hear from the stream while it is young: nothing holds it back.
                        assert await asyncio.to_thread(stack.stop_part, "extproc") == 0
                        stack.start_part("extproc")
        assert events >= 15
    finally:  # other tests share the stack
        if "extproc" not in stack.processes:
            stack.start_part("extproc")
        await asyncio.to_thread(stack.wait_ready, "extproc")


async def test_the_upstreams_own_challenge_never_reaches_the_client(stack):
    async with client(token=stack.token("demo-admin")) as http:
        answer = await http.post(f"http://{stack.addresses.envoy}/refused/mcp", content=b"{}")
    assert answer.status_code in (401, 403)
    (seen,) = stack.control("mcp", "requests")
    assert seen["raw_path"] == "/mcp"
    assert "www-authenticate" not in answer.headers
