"""The MCP SDK's own OAuth client logs in through nothing but the gateway's address."""

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from support.logins import Browser, Memory, login


async def test_discovery_registration_login_and_a_signed_tool_call(stack):
    url, browser, memory = stack.addresses.resource, Browser("demo-developer"), Memory()
    async with (
        httpx2.AsyncClient(auth=login(url, browser, memory), timeout=20) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        result = await client.call_tool("whoami", {})
    assert '"DemoDeveloper"' in result.content[0].text
    (asked,) = browser.asked
    assert asked["resource"] == url
    assert asked["code_challenge_method"] == "S256"
    assert memory.client.client_id
    stats = stack.control("mcp", "stats")
    assert stats["received"] == stats["verified"] > 0
    assert stats["bearer_seen"] == 0
