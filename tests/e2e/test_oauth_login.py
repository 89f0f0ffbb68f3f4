"""The MCP SDK's own OAuth client logs in through nothing but the gateway's address."""

from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

REDIRECT = "http://127.0.0.1:7777/callback"


class Memory:
    """The SDK's token storage."""

    def __init__(self):
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Browser:
    """Someone who logs in as one account and is sent back to the client."""

    def __init__(self, account):
        self.account = account
        self.opened = ""

    async def open(self, url):
        self.opened = url

    async def come_back(self):
        async with httpx2.AsyncClient() as http:
            page = await http.get(self.opened)
            assert f"login_hint={self.account}" in page.text
            answer = await http.get(f"{self.opened}&login_hint={self.account}")
        assert answer.status_code == 302
        location = urlsplit(answer.headers["location"])
        assert location._replace(query="").geturl() == REDIRECT
        query = {name: values[0] for name, values in parse_qs(location.query).items()}
        return AuthorizationCodeResult(code=query["code"], state=query["state"], iss=query["iss"])


async def test_discovery_registration_login_and_a_signed_tool_call(stack):
    url, browser, memory = stack.addresses.resource, Browser("demo-developer"), Memory()
    login = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="test", redirect_uris=[REDIRECT], token_endpoint_auth_method="none"
        ),
        storage=memory,
        redirect_handler=browser.open,
        callback_handler=browser.come_back,
    )
    async with (
        httpx2.AsyncClient(auth=login, timeout=20) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        result = await client.call_tool("whoami", {})
    assert '"DemoDeveloper"' in result.content[0].text
    asked = parse_qs(urlsplit(browser.opened).query)
    assert asked["resource"] == [url]
    assert asked["code_challenge_method"] == ["S256"]
    assert memory.client.client_id
    stats = stack.control("mcp", "stats")
    assert stats["received"] == stats["verified"] > 0
    assert stats["bearer_seen"] == 0
