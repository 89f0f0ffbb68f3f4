"""Rules that read the MCP message, through the real Envoy with the official client in both modes."""

import json

import pytest
import yaml
from mcp.shared.exceptions import MCPError

from extproc.demo.driver import mcp_client
from extproc.demo.settings import ADMIN_ROLE, DEVELOPER_ROLE
from support.http import client
from support.stacks import Stack

RULES = [
    {"name": "no-echo", "matcher": 'mcp.tool == "echo"', "effect": "deny", "priority": 0},
    {
        "name": "short-countdown",
        "matcher": 'mcp.tool == "countdown" && mcp.arguments.n < 3',
        "role_arn": DEVELOPER_ROLE,
        "priority": 1,
    },
    {"name": "admins", "claim": "admins", "role_arn": ADMIN_ROLE, "priority": 2},
]


@pytest.fixture(scope="module")
def ruled(tmp_path_factory):
    def with_rules(text):
        return yaml.safe_dump({**yaml.safe_load(text), "role_mappings": RULES})

    with Stack(tmp_path_factory.mktemp("ruled"), adjust=with_rules) as stack:
        yield stack


@pytest.fixture
def stack(ruled):
    ruled.control("sts", "reset", {})
    ruled.control("mcp", "reset", {})
    return ruled


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_denied_tool_is_an_error_that_the_client_shows_and_others_still_work(stack, mode):
    token = stack.token("demo-admin")
    async with mcp_client(stack.addresses.resource, token, mode=mode) as mcp:
        allowed = await mcp.call_tool("whoami", {})
        assert json.loads(allowed.content[0].text)["role_name"] == ADMIN_ROLE.rpartition("/")[2]
        with pytest.raises(MCPError) as error:
            await mcp.call_tool("echo", {"text": "hi"})
        assert error.value.error.code == 10_403
        assert error.value.error.message.startswith(
            "A rule of this gateway does not let your account use this tool;"
        )
        await mcp.call_tool("whoami", {})


async def test_arguments_choose_the_role_and_each_role_is_one_exchange(stack):
    token = stack.token("demo-admin")
    async with mcp_client(stack.addresses.resource, token, mode="2026-07-28") as mcp:
        for n in (1, 2, 1, 5):
            await mcp.call_tool("countdown", {"n": n, "delay": 0})
    assert stack.control("sts", "stats")["calls"] == 2


def call(tool, **members):
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool}, **members}


async def post(stack, content, headers=()):
    async with client(token=stack.token("demo-admin")) as http:
        return await http.post(f"http://{stack.addresses.envoy}/mcp", content=content, headers=dict(headers))


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (json.dumps(call("echo")), {"content-type": "application/json; charset=utf-8"}, 403, 10_403),
        (json.dumps(call("whoami")), {"content-type": "application/json; charset=utf-16"}, 400, -32600),
        (json.dumps(call("whoami")), {"content-type": "text/plain"}, 400, -32600),
        (json.dumps(call("whoami")), {"content-encoding": "gzip"}, 400, -32600),
        (json.dumps(call("whoami")).encode("utf-16"), {"content-type": "application/json"}, 400, -32700),
        (json.dumps(call("whoami\0")), {}, 400, -32600),
        (json.dumps(call("echo")), {}, 403, 10_403),
        (json.dumps([call("whoami"), call("echo")]), {}, 400, -32600),
        (
            '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","name":"echo"}}',
            {},
            400,
            -32600,
        ),
        (json.dumps(call("whoami")), {"mcp-method": "tools/call", "mcp-name": "echo"}, 400, -32020),
        (json.dumps(call("whoami")), {"mcp-protocol-version": "2026-07-28"}, 400, -32602),
    ],
    ids=[
        "charset",
        "utf-16",
        "text",
        "gzip",
        "utf-16 bytes",
        "nul",
        "denied",
        "batch",
        "duplicate",
        "mismatch",
        "missing",
    ],
)
async def test_what_is_refused_by_its_body_is_a_json_rpc_error_and_nothing_arrives(
    stack, content, headers, status, code
):
    answer = await post(stack, content, headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["jsonrpc"] == "2.0"
    assert stack.control("mcp", "stats")["received"] == 0


async def test_a_request_without_a_body_has_no_tool(stack):
    async with client(token=stack.token("demo-admin")) as http:
        answer = await http.get(f"http://{stack.addresses.envoy}/echo")
    assert answer.status_code == 200
