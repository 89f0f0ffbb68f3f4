"""Client id metadata documents: a client's id is the URL of a document about it.

https://datatracker.ietf.org/doc/draft-ietf-oauth-client-id-metadata-document/ (revision 01), which MCP
requires since 2025-11-25. Anyone who opens the authorization page makes this process fetch a URL, so only
public addresses are allowed, and loopback ones if the provider itself has a loopback address.
"""

import asyncio
import ipaddress
import json
import socket
import time
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import httpx2
from cachetools import TTLCache

from extproc.demo.idp_errors import OAuthError

MAX_DOCUMENT: Final = 10 * 1024  # bytes; the draft recommends five kilobytes at least
MAX_URL: Final = 1000  # characters
FETCH_TIMEOUT: Final = 5.0  # seconds, for all of it
FRESH: Final = 300.0  # seconds
MAX_DOCUMENTS: Final = 200
_SECRETS: Final = frozenset({"client_secret", "client_secret_expires_at"})


def is_document_url(client_id: str) -> bool:
    """Return whether a client id is a URL that the draft allows (section 3)."""
    if len(client_id) > MAX_URL or not client_id.isascii() or not client_id.isprintable() or " " in client_id:
        return False
    try:
        parts = urlsplit(client_id)
        _ = parts.port
    except ValueError:
        return False
    segments = {unquote(segment) for segment in parts.path.split("/")}
    return (
        parts.scheme == "https"
        and client_id.startswith("https://")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and parts.path not in ("", "/")
        and "#" not in client_id
        and not segments & {".", ".."}
    )


class ClientDocuments:
    """Fetches documents, and keeps valid ones for five minutes.

    Args:
        allow_loopback: fetch from this machine too.
        transport: replaces the network, for tests; then no name is resolved.
    """

    def __init__(self, *, allow_loopback: bool, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._allow_loopback = allow_loopback
        self._transport = transport
        self._cache: TTLCache[str, dict[str, Any]] = TTLCache(MAX_DOCUMENTS, FRESH, time.monotonic)

    async def fetch(self, client_id: str) -> dict[str, Any]:
        """Return the document at a client id for which ``is_document_url`` is true.

        Raises:
            OAuthError: ``invalid_client`` if it cannot be fetched or is not this client's.
        """
        known = self._cache.get(client_id)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):  # httpx2's timeout limits single operations only
                body = await self._get(client_id)
        except (OSError, ValueError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _refused(
                f"the document at {client_id} cannot be fetched ({type(error).__name__}); "
                "without a way to the internet, start the demo with --no-cimd"
            ) from None
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or document.get("client_id") != client_id:
            raise _refused("the document is not JSON with this URL as client_id")
        if document.keys() & _SECRETS:
            raise _refused("the document holds a secret, and everybody can read it")
        self._cache[client_id] = document
        return document

    async def _get(self, url: str) -> bytes:
        if self._transport is not None:
            return await self._get_from(url, url)
        parts = urlsplit(url)
        failure: httpx2.ConnectError | None = None
        for address in await self._addresses(str(parts.hostname), parts.port or 443):
            try:
                return await self._get_from(parts._replace(netloc=_netloc(address, parts)).geturl(), url)
            except httpx2.ConnectError as error:
                failure = error
        raise failure or OSError("the host has no address")

    async def _get_from(self, target: str, url: str) -> bytes:
        """Fetch ``url`` from the address in ``target``, which was checked; TLS asks for the name."""
        parts = urlsplit(url)
        headers = {"host": parts.netloc, "accept": "application/json"}
        async with (
            # CA certificates of the system or of SSL_CERT_FILE; no proxy: it would resolve the name again.
            httpx2.AsyncClient(
                transport=self._transport,
                verify=httpx2.create_ssl_context(),
                timeout=FETCH_TIMEOUT,
                trust_env=False,
                follow_redirects=False,
            ) as http,
            http.stream(
                "GET", target, headers=headers, extensions={"sni_hostname": parts.hostname}
            ) as answer,
        ):
            if answer.status_code != HTTPStatus.OK:
                raise _refused(f"the document's server answered {answer.status_code}")
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_DOCUMENT:
                    raise _refused(f"the document has more than {MAX_DOCUMENT} bytes")
            return bytes(body)

    async def _addresses(self, host: str, port: int) -> list[str]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not all(_fetchable(address, loopback=self._allow_loopback) for address in addresses):
            raise _refused("the document's host is not a public one")
        return addresses


def _fetchable(address: str, *, loopback: bool) -> bool:
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return (ip.is_global and not ip.is_multicast) or (loopback and ip.is_loopback)


def _netloc(address: str, parts: SplitResult) -> str:
    host = f"[{address}]" if ":" in address else address
    return host if parts.port is None else f"{host}:{parts.port}"


def _refused(why: str) -> OAuthError:
    return OAuthError("invalid_client", why)
