"""Logins by the MCP SDK's own OAuth client, with someone who sits at the browser."""

from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
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
    """Someone who logs in as one account and is sent back to the client. ``opened``: all addresses, in order."""

    def __init__(self, account):
        self.account = account
        self.opened = []

    @property
    def asked(self):
        """The parameters of each authorization request."""
        return [
            {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()} for url in self.opened
        ]

    async def open(self, url):
        self.opened.append(url)

    async def come_back(self):
        async with httpx2.AsyncClient() as http:
            page = await http.get(self.opened[-1])
            assert f"login_hint={self.account}" in page.text
            answer = await http.get(f"{self.opened[-1]}&login_hint={self.account}")
        assert answer.status_code == 302
        location = urlsplit(answer.headers["location"])
        assert location._replace(query="").geturl() == REDIRECT
        query = {name: values[0] for name, values in parse_qs(location.query).items()}
        return AuthorizationCodeResult(code=query["code"], state=query["state"], iss=query["iss"])


def login(url, browser, memory, *, client_metadata_url=None):
    """What logs in for an HTTP client of the SDK."""
    return OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="test", redirect_uris=[REDIRECT], token_endpoint_auth_method="none"
        ),
        storage=memory,
        redirect_handler=browser.open,
        callback_handler=browser.come_back,
        client_metadata_url=client_metadata_url,
    )
