"""The official MCP client in each protocol mode, signing its own requests with botocore."""

import time

import botocore.session
import httpx2
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

HOST = "aws-mcp.us-east-1.api.aws"
ROLE = "arn:aws:iam::123456789012:role/DemoAdmin"


class SigningAuth(httpx2.Auth):
    requires_request_body = True

    def __init__(self, credentials):
        self._credentials = credentials

    def auth_flow(self, request):
        request.headers["host"] = HOST
        url = f"https://{HOST}{request.url.raw_path.decode()}"
        content_type = request.headers.get("content-type")
        headers = {"content-type": content_type} if content_type else {}
        to_sign = AWSRequest(method=request.method, url=url, data=request.content, headers=headers)
        SigV4Auth(self._credentials, "aws-mcp", "us-east-1").add_auth(to_sign)
        for name, value in to_sign.headers.items():
            request.headers[name] = value
        yield request


@pytest.fixture(scope="module")
def auth(stack):
    config = Config(signature_version=UNSIGNED, proxies={})
    client = botocore.session.Session().create_client(
        "sts", region_name="us-east-1", endpoint_url=stack.sts, config=config
    )
    found = client.assume_role_with_web_identity(
        RoleArn=ROLE, RoleSessionName="alice", WebIdentityToken=stack.token()
    )["Credentials"]
    client.close()
    return SigningAuth(Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"]))


@pytest.fixture(autouse=True)
def forget(stack):
    httpx2.post(f"{stack.mcp}/_control/reset", trust_env=False)


def recorded(stack):
    return httpx2.get(f"{stack.mcp}/_control/requests", trust_env=False).json()


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy", "auto"])
async def test_every_tool_works_in_every_mode(stack, auth, mode):
    heard = []

    async def progress(done, total, message):
        heard.append((done, total, message))

    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, timeout=10) as http,
        # In legacy mode answers are events, which the client by default limits to 1 MiB.
        Client(
            streamable_http_client(f"{stack.mcp}/mcp", http_client=http, max_sse_event_size=None), mode=mode
        ) as client,
    ):
        tools = await client.list_tools()
        assert {tool.name for tool in tools.tools} == {"whoami", "echo", "countdown"}
        who = (await client.call_tool("whoami", {})).structured_content
        assert who["arn"] == "arn:aws:sts::123456789012:assumed-role/DemoAdmin/alice"
        assert (who["role_name"], who["session_name"]) == ("DemoAdmin", "alice")
        assert who["access_key_id"].startswith("ASIA")
        big = "x" * (5 * 1024 * 1024)
        echoed = await client.call_tool("echo", {"text": big})
        assert echoed.structured_content == {"result": big}
        counted = await client.call_tool("countdown", {"n": 3, "delay": 0.05}, progress_callback=progress)
        assert counted.structured_content == {"counted": 3}
        wrong = await client.call_tool("countdown", {"n": 0, "delay": 0})
        assert wrong.is_error
    assert [entry[0] for entry in heard] == [1, 2, 3]
    requests = recorded(stack)
    assert {request["outcome"] for request in requests} == {"verified"}
    methods = {request["method"] for request in requests}
    assert methods == ({"POST", "GET", "DELETE"} if mode == "legacy" else {"POST"})


async def test_progress_arrives_while_the_tool_still_runs(stack, auth):
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "countdown",
            "arguments": {"n": 3, "delay": 0.3},
            "_meta": {
                "progressToken": 1,
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "countdown",
    }
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False) as http,
        http.stream("POST", f"{stack.mcp}/mcp", json=message, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        arrivals = [time.monotonic() async for _ in answer.aiter_raw()]
    # Three notifications 0.3 s apart, not one answer at the end.
    assert arrivals[-1] - arrivals[0] > 0.4


async def test_an_unsigned_client_is_challenged(stack):
    headers = {"host": HOST, "authorization": "Bearer eyJh.eyJz.c2ln"}
    async with httpx2.AsyncClient(trust_env=False, headers=headers) as http:
        answer = await http.post(f"{stack.mcp}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert recorded(stack)[0]["bearer_seen"]


async def test_chunked_and_sized_bodies_are_both_taken(stack, auth):
    async def chunks():
        yield b"hello "
        yield b"world"

    async with httpx2.AsyncClient(auth=auth, trust_env=False) as http:
        sized = await http.post(f"{stack.mcp}/echo", content=b"hello world")
        chunked = await http.post(f"{stack.mcp}/echo", content=chunks())
    assert sized.json()["body_sha256"] == chunked.json()["body_sha256"]
    assert sized.json()["body_length"] == 11
    assert [request["http_version"] for request in recorded(stack)] == ["1.1", "1.1"]
    assert "transfer-encoding" in chunked.json()["headers"]


async def test_a_path_of_encoded_slashes_arrives_untouched(stack, auth):
    path = "/runtimes/arn%3Aaws%3Ax%2Fy/invocations?qualifier=DEFAULT"
    async with httpx2.AsyncClient(auth=auth, trust_env=False) as http:
        answer = await http.get(httpx2.URL(stack.mcp).copy_with(raw_path=path.encode()))
    assert answer.json()["raw_path"] == "/runtimes/arn%3Aaws%3Ax%2Fy/invocations"


async def test_events_stream_one_by_one(stack, auth):
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False) as http,
        http.stream("GET", f"{stack.mcp}/sse?n=3&delay=0.1") as answer,
    ):
        arrivals = [time.monotonic() async for line in answer.aiter_lines() if line.startswith("data:")]
    assert len(arrivals) == 3
    assert arrivals[-1] - arrivals[0] > 0.1
