"""Clients whose token lacks a scope are told which, log in for it, and go on: the real Envoy, the SDK's own client."""

import json
import re

import httpx2
import pytest
import yaml
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthToken

from extproc.demo.settings import ADMIN_ROLE, DEVELOPER_ROLE
from support.http import client
from support.logins import Browser, Memory, login
from support.stacks import Stack

BY_TOOL = {
    "role_mappings": [
        {
            "name": "echo-needs-a-scope",
            "matcher": 'mcp.tool == "echo"',
            "effect": "deny",
            "require_scopes": ["aws:call"],
        },
        {
            "name": "countdown-needs-another",
            "matcher": 'mcp.tool == "countdown"',
            "effect": "deny",
            "require_scopes": ["aws:count"],
        },
        {"name": "developers", "claim": "developers", "role_arn": DEVELOPER_ROLE},
    ]
}
BY_CLAIMS = {
    "role_mappings": [
        {
            "name": "admins",
            "claim": "admins",
            "role_arn": ADMIN_ROLE,
            "require_scopes": ["aws:call", "aws:admin"],
        },
        {
            "name": "developers",
            "claim": "developers",
            "role_arn": DEVELOPER_ROLE,
            "require_scopes": ["aws:call"],
        },
    ]
}


def _scoped(text, engine, rules):
    settings = yaml.safe_load(text) | rules
    settings["listen"]["engine"] = engine
    settings["issuers"][0]["required_scopes"] = ["mcp"]
    settings["scopes"] = {"aws:*": ["aws:read", "aws:admin"], "aws:read": ["aws:call"]}
    return yaml.safe_dump(settings)


def _stack(tmp_path_factory, engine, rules):
    return Stack(tmp_path_factory.mktemp("scopes"), adjust=lambda text: _scoped(text, engine, rules))


@pytest.fixture(scope="module", params=["completion_queue", "aio"])
def by_tool(request, tmp_path_factory):
    with _stack(tmp_path_factory, request.param, BY_TOOL) as stack:
        yield stack


@pytest.fixture(scope="module")
def by_claims(tmp_path_factory):
    with _stack(tmp_path_factory, "aio", BY_CLAIMS) as stack:
        yield stack


def _nothing_unsigned(stack):
    stats = stack.control("mcp", "stats")
    return stats["received"] == stats["verified"] > 0 == stats["bearer_seen"]


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_login_call_step_up_call(by_tool, mode):
    stack = by_tool
    stack.control("mcp", "reset", {})
    url, browser, memory = stack.addresses.resource, Browser("demo-developer"), Memory()
    async with (
        httpx2.AsyncClient(auth=login(url, browser, memory), timeout=20) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as mcp,
    ):
        await mcp.call_tool("whoami", {})
        assert [asked["scope"] for asked in browser.asked] == ["mcp"]
        result = await mcp.call_tool("echo", {"text": "hi"})
        assert "hi" in result.content[0].text
        assert [asked["scope"].split() for asked in browser.asked] == [["mcp"], ["mcp", "aws:call"]]
        # The new token serves for both from now on.
        await mcp.call_tool("whoami", {})
        await mcp.call_tool("echo", {"text": "again"})
    assert len(browser.opened) == 2
    assert memory.tokens.scope.split() == ["mcp", "aws:call"]
    assert _nothing_unsigned(stack)


async def test_a_stored_token_that_lacks_what_its_role_requires_is_stepped_up(by_claims):
    stack = by_claims
    stack.control("mcp", "reset", {})
    url, browser, memory = stack.addresses.resource, Browser("demo-developer"), Memory()
    memory.tokens = OAuthToken(access_token=stack.token("demo-developer", scope="mcp"), scope="mcp")
    async with (
        httpx2.AsyncClient(auth=login(url, browser, memory), timeout=20) as http,
        Client(streamable_http_client(url, http_client=http)) as mcp,
    ):
        result = await mcp.call_tool("whoami", {})
        assert json.loads(result.content[0].text)["role_name"] == DEVELOPER_ROLE.rpartition("/")[2]
    assert [asked["scope"].split() for asked in browser.asked] == [["mcp", "aws:call"]]
    assert _nothing_unsigned(stack)


async def _challenge(stack, account, scope, tool="echo"):
    """Status, challenge and body of one call."""
    content = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
    async with client(token=stack.token(account, scope=scope)) as http:
        answer = await http.post(stack.addresses.resource, json=content)
    return answer.status_code, answer.headers.get("www-authenticate"), answer


async def test_a_client_that_asks_for_what_the_challenge_names_and_no_more_loses_nothing(by_tool):
    """As clients of 2025-11-25 do: the Python SDK's 1.30 and the TypeScript SDK's 1.32 among them."""
    scope, asked = "mcp", []
    for tool in ("echo", "countdown", "echo", "countdown", "whoami"):
        status, challenge, _ = await _challenge(by_tool, "demo-developer", scope, tool)
        if status == 403:
            scope = re.search(r' scope="([^"]*)"', challenge).group(1)
            asked.append(scope)
    assert asked == ["mcp aws:call", "mcp aws:call aws:count"]


@pytest.mark.parametrize("scope", ["mcp aws:*", "mcp aws:read", "mcp aws:call x"])
async def test_a_broader_scope_needs_no_step_up(by_tool, scope):
    status, _, answer = await _challenge(by_tool, "demo-developer", scope)
    assert (status, "insufficient_scope" in answer.text) != (403, True)
    assert by_tool.control("mcp", "stats")["bearer_seen"] == 0


@pytest.mark.parametrize(
    ("account", "scope", "asked_for"),
    [
        ("demo-admin", "mcp", "mcp aws:call aws:admin"),
        ("demo-admin", "mcp aws:read", "mcp aws:admin aws:read"),
        ("demo-developer", "mcp openid", "mcp aws:call"),
        ("demo-developer", "aws:call", "mcp aws:call"),
    ],
)
async def test_the_challenge_names_what_is_needed_and_nothing_goes_up(by_claims, account, scope, asked_for):
    stack = by_claims
    stack.control("mcp", "reset", {})
    status, challenge, answer = await _challenge(stack, account, scope)
    metadata = f"http://{stack.addresses.envoy}/.well-known/oauth-protected-resource/mcp"
    assert status == 403
    assert challenge.startswith("Bearer ")
    for attribute in (
        f'resource_metadata="{metadata}"',
        f'scope="{asked_for}"',
        'error="insufficient_scope"',
    ):
        assert challenge.count(attribute) == 1
    assert answer.json()["error"]["data"]["error"] == "insufficient_scope"
    assert stack.control("mcp", "stats")["received"] == 0
    async with client(token=None) as http:
        document = (await http.get(metadata)).json()
    assert document["scopes_supported"] == ["mcp", "aws:call", "aws:admin"]


async def test_who_gets_no_role_with_any_scope_is_not_sent_to_log_in(by_claims):
    status, challenge, _ = await _challenge(by_claims, "demo-guest", "mcp")
    assert (status, challenge) == (403, None)
