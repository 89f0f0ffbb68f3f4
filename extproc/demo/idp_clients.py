"""Clients of the demo's provider: known beforehand, registered, or described by a document at a URL.

All are public clients. In MCP (2025-11-25, Authorization) clients try in this order: a configured id,
a client id metadata document if the provider supports it, dynamic registration (RFC 7591).
"""

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from cachetools import TTLCache

from extproc.demo.idp_documents import ClientDocuments, is_document_url
from extproc.demo.idp_errors import OAuthError
from extproc.loopback import is_loopback

MAX_CLIENTS: Final = 1000
CLIENT_LIFETIME: Final = 86_400.0  # seconds
MAX_REDIRECT_URIS: Final = 10
MAX_URI: Final = 1000  # characters
# RFC 8252 7.1 asks for names like com.example.app; editors have shorter ones.
_EDITORS: Final = frozenset({"cursor", "vscode", "vscode-insiders", "windsurf"})
_REVERSE_DOMAIN: Final = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")


@dataclass(frozen=True, slots=True)
class Client:
    """A public client.

    Attributes:
        redirect_uris: URLs to which a browser may be sent back. A loopback address covers all its ports.
        refreshes: whether it can use refresh tokens.
        any_loopback: whether every path of a loopback address is a redirect address too.
        host: the host of the client's metadata document; None without one.
    """

    client_id: str
    redirect_uris: tuple[str, ...]
    name: str
    refreshes: bool = True
    any_loopback: bool = False
    host: str | None = None

    def may_return_to(self, uri: str) -> bool:
        """Return whether a browser may be sent to ``uri`` with a code.

        URLs are compared as strings, except for the port of loopback addresses (RFC 8252 section 7.3).
        """
        if uri in self.redirect_uris:
            return True
        wanted = _split(uri)
        if wanted is None or not _is_loopback(wanted) or wanted.fragment:
            return False
        return self.any_loopback or any(
            (known := _split(registered)) is not None
            and _is_loopback(known)
            and (known.hostname, known.path, known.query) == (wanted.hostname, wanted.path, wanted.query)
            for registered in self.redirect_uris
        )


PREREGISTERED: Final = Client(
    client_id="demo-client",
    redirect_uris=(
        "https://vscode.dev/redirect",
        "https://insiders.vscode.dev/redirect",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
    ),
    name="A client with the id demo-client",
    any_loopback=True,
)
"""The client that needs no registration: any program of this machine can use its id."""


class Clients:
    """Finds clients of the three kinds. Registered ones are in memory, limited in number and time."""

    def __init__(self, documents: ClientDocuments | None) -> None:
        self._documents = documents
        self._registered: TTLCache[str, Client] = TTLCache(MAX_CLIENTS, CLIENT_LIFETIME, time.monotonic)

    async def find(self, client_id: str) -> Client:
        """Return the client with an id.

        Raises:
            OAuthError: ``invalid_client``; nothing may be sent to a redirect address then.
        """
        if client_id == PREREGISTERED.client_id:
            return PREREGISTERED
        registered = self._registered.get(client_id)
        if registered is not None:
            return registered
        if self._documents is not None and is_document_url(client_id):
            document = await self._documents.fetch(client_id)
            host = urlsplit(client_id).netloc
            return _client(document, client_id=client_id, error="invalid_client", host=host)
        # Registrations end with the process: a client that returns must register again.
        raise OAuthError("invalid_client", "the client is not registered (any more)")

    def register(self, wanted: object) -> dict[str, Any]:
        """Register a client; return the response of RFC 7591 section 3.2.1.

        Raises:
            OAuthError: ``invalid_redirect_uri`` or ``invalid_client_metadata``.
        """
        if not isinstance(wanted, dict):
            raise OAuthError("invalid_client_metadata", "a JSON object is expected")
        client = _client(
            wanted, client_id=f"demo-{secrets.token_urlsafe(12)}", error="invalid_client_metadata"
        )
        self._registered[client.client_id] = client
        return {
            "client_id": client.client_id,
            "client_id_issued_at": int(time.time()),
            "client_name": client.name,
            "redirect_uris": list(client.redirect_uris),
            "grant_types": ["authorization_code", *(["refresh_token"] if client.refreshes else [])],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }


def _client(metadata: Mapping[str, Any], *, client_id: str, error: str, host: str | None = None) -> Client:
    uris = metadata.get("redirect_uris")
    if (
        not isinstance(uris, list)
        or not 0 < len(uris) <= MAX_REDIRECT_URIS
        or not all(map(_redirectable, uris))
    ):
        raise OAuthError(
            "invalid_redirect_uri" if host is None else error,
            f"one to {MAX_REDIRECT_URIS} https, loopback or private-use redirect addresses are expected",
        )
    if metadata.get("token_endpoint_auth_method", "none") != "none":
        raise OAuthError(error, "token_endpoint_auth_method must be none: all clients are public")
    grants = metadata.get("grant_types", ["authorization_code"])  # RFC 7591 section 2
    if not isinstance(grants, list) or "authorization_code" not in grants:
        raise OAuthError(error, "grant_types must have authorization_code")
    name = metadata.get("client_name")
    return Client(
        client_id=client_id,
        redirect_uris=tuple(uris),
        name=name[:100] if isinstance(name, str) else "a client",
        refreshes="refresh_token" in grants,
        host=host,
    )


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port  # urlsplit checks it on access
    except ValueError:
        return None
    return parts


def _is_loopback(parts: SplitResult) -> bool:
    return parts.scheme == "http" and is_loopback(parts.hostname) and "@" not in parts.netloc


def _redirectable(uri: object) -> bool:
    if not isinstance(uri, str) or len(uri) > MAX_URI:
        return False
    parts = _split(uri)
    if parts is None or parts.fragment or "@" in parts.netloc:
        return False
    if parts.scheme in _EDITORS or _REVERSE_DOMAIN.fullmatch(parts.scheme):
        return True
    return _is_loopback(parts) or (parts.scheme == "https" and bool(parts.hostname))
