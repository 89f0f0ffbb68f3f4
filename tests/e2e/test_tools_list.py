"""Lists of tools that are filtered, through the real Envoy, with the official client in both modes."""

import json

import pytest
import yaml
from mcp.shared.exceptions import MCPError

from extproc.demo.driver import mcp_client
from extproc.demo.settings import ADMIN_ROLE, DEVELOPER_ROLE
from support.http import client
from support.stacks import Stack

RULES = [
    {"name": "no-echo", "matcher": 'mcp.tool == "echo"', "effect": "deny"},
    {
        "name": "short-countdown",
        "matcher": '"developers" in claims.groups && mcp.tool == "countdown" && mcp.arguments.n < 3',
        "role_arn": DEVELOPER_ROLE,
    },
    {"name": "handshake", "matcher": "!has(mcp.tool)", "role_arn": DEVELOPER_ROLE},
    {"name": "admins", "claim": "admins", "role_arn": ADMIN_ROLE},
]
LIST = {"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    def filtering(text):
        settings = yaml.safe_load(text)
        settings["targets"][0]["filter_tools_list"] = True
        return yaml.safe_dump({**settings, "role_mappings": RULES, "observe_upstream": "never"})

    with Stack(tmp_path_factory.mktemp("filtered"), adjust=filtering) as stack:
        yield stack


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
@pytest.mark.parametrize(
    ("account", "tools"), [("demo-admin", ["whoami", "countdown"]), ("demo-developer", ["countdown"])]
)
async def test_a_client_sees_the_tools_that_it_may_call(stack, mode, account, tools):
    async with mcp_client(stack.addresses.resource, stack.token(account), mode=mode) as mcp:
        assert [tool.name for tool in (await mcp.list_tools()).tools] == tools
        await mcp.call_tool("countdown", {"n": 2, "delay": 0})  # streams of events are not held back
        with pytest.raises(MCPError):
            await mcp.call_tool("echo", {"text": "hi"})


async def test_the_upstream_is_asked_for_no_coding_and_the_length_is_right(stack):
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "accept-encoding": "gzip, br",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/list",
    }
    message = {**LIST, "params": {"_meta": meta}}
    async with client(token=stack.token("demo-admin")) as http:
        seen = await http.post(f"http://{stack.addresses.envoy}/mcp", json=message, headers=headers)
        forwarded = stack.control("mcp", "requests")
    assert seen.status_code == 200
    assert int(seen.headers["content-length"]) == len(seen.content)
    assert [tool["name"] for tool in seen.json()["result"]["tools"]] == ["whoami", "countdown"]
    assert [value for name, value in forwarded[-1]["headers"] if name == "accept-encoding"] == ["identity"]


async def test_an_answer_that_is_no_list_becomes_an_error_that_clients_show(stack):
    async with client(token=stack.token("demo-admin")) as http:
        seen = await http.post(f"http://{stack.addresses.envoy}/echo", json=LIST)
    assert seen.status_code == 502
    error = json.loads(seen.content)
    assert (error["id"], error["error"]["code"]) == (7, 10_502)
