"""Log in to an MCP endpoint with the official Python SDK, and list its tools or call one.

    pip install 'mcp>=2.3,<3'
    python login.py [URL] [TOOL]

Without a tool it lists the tools. The browser opens, and returns to this program. Without ``--client-id`` the
SDK uses the document at ``--client-metadata-url`` if the identity provider supports it, and otherwise
registers itself. Tokens are in memory only, and refreshed when they expire; a program for daily use keeps
them in the system's key ring.
"""

import argparse
import asyncio
import webbrowser
from urllib.parse import parse_qsl, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp.shared.exceptions import MCPError
from pydantic import AnyUrl

URL = "http://localhost:10000/mcp"
CLIENT_ID: str | None = None
LOGIN_WITHIN = 300  # seconds
_REQUEST_LINE = 16 * 1024  # bytes


class InMemory:
    """The SDK's token storage."""

    def __init__(self, client: OAuthClientInformationFull | None) -> None:
        self._client = client
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """Return the tokens of an earlier login."""
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep new tokens, after a login or a refresh."""
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return the client's registration at the identity provider."""
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep a new registration."""
        self._client = client_info


class Callback:
    """The loopback address that the browser returns to (RFC 8252 section 7.3)."""

    def __init__(self) -> None:
        self._came_back: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self._server: asyncio.Server | None = None

    async def listen(self, port: int) -> str:
        """Listen on a port, 0 for any; return the redirect address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=_REQUEST_LINE)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/callback"

    async def result(self) -> AuthorizationCodeResult:
        """Return the identity provider's answer; the SDK compares ``state`` and ``iss``."""
        query = await asyncio.wait_for(self._came_back, LOGIN_WITHIN)
        if "code" not in query:
            raise SystemExit(f"The login failed: {query.get('error_description') or query.get('error')}")
        return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readline()).decode("latin-1").split(" ")[1:2]
        parts = urlsplit(target[0]) if target else urlsplit("")
        if parts.path == "/callback" and not self._came_back.done():
            self._came_back.set_result(dict(parse_qsl(parts.query)))
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nYou can close this.\n"
        )
        await writer.drain()
        writer.close()


async def _open_browser(url: str) -> None:
    print(f"Log in at {url}")  # noqa: T201 - for machines without a browser
    await asyncio.to_thread(webbrowser.open, url)


def _reasons(refused: BaseExceptionGroup) -> str:
    return "\n".join(
        _reasons(each) if isinstance(each, BaseExceptionGroup) else str(each) for each in refused.exceptions
    )


async def main() -> None:
    """Log in with the options of the command line, and show a tool's result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?", default=URL)
    parser.add_argument("tool", nargs="?")
    parser.add_argument("--client-id", default=CLIENT_ID, help="registered beforehand, as a public client")
    parser.add_argument("--client-metadata-url", help="an https URL: a client id metadata document")
    parser.add_argument("--callback-port", type=int, default=0)
    arguments = parser.parse_args()
    callback = Callback()
    redirect = AnyUrl(await callback.listen(arguments.callback_port))
    known = None
    if arguments.client_id:
        known = OAuthClientInformationFull(
            client_id=arguments.client_id, redirect_uris=[redirect], token_endpoint_auth_method="none"
        )
    login = OAuthClientProvider(
        server_url=arguments.url,
        client_metadata=OAuthClientMetadata(
            client_name="login.py", redirect_uris=[redirect], token_endpoint_auth_method="none"
        ),
        storage=InMemory(known),
        redirect_handler=_open_browser,
        callback_handler=callback.result,
        client_metadata_url=arguments.client_metadata_url,
    )
    async with (
        httpx2.AsyncClient(auth=login, timeout=LOGIN_WITHIN) as http,
        Client(streamable_http_client(arguments.url, http_client=http)) as client,
    ):
        if arguments.tool is None:
            lines = [tool.name for tool in (await client.list_tools()).tools]
        else:
            result = await client.call_tool(arguments.tool, {})
            lines = [part.text for part in result.content if part.type == "text"]
    await callback.close()
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except* MCPError as refused:
        raise SystemExit(_reasons(refused)) from None
