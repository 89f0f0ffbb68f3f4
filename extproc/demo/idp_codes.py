"""The demo provider's authorization code flow: registered clients, and codes bound to what was asked for.

Clients register themselves (RFC 7591) and are public, so PKCE with S256 is required (RFC 7636). A code works
once, for one minute, for the client, redirect address, resource and verifier it was made for.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from cachetools import TTLCache

CODE_LIFETIME: Final = 60.0  # seconds
MAX_CODES: Final = 1000
MAX_CLIENTS: Final = 1000
CLIENT_LIFETIME: Final = 86_400.0  # seconds
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # a SHA-256 in base64url
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class CodeFlowError(Exception):
    """A request is refused: ``error`` is the OAuth code, ``str()`` a sentence for the caller."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


@dataclass(frozen=True, slots=True)
class Client:
    """A registered public client."""

    client_id: str
    redirect_uris: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid request for a code (RFC 6749 section 4.1.1, RFC 7636, RFC 8707)."""

    client: Client
    redirect_uri: str
    challenge: str
    resource: str | None
    scope: str
    state: str | None


@dataclass(frozen=True, slots=True)
class Authorized:
    """What a code stands for: a request, approved by an account."""

    request: AuthorizationRequest
    account: str


class CodeFlow:
    """Clients and codes in memory, both bounded in number and time."""

    def __init__(self, *, issuer: str) -> None:
        self._issuer = issuer
        self._clients: TTLCache[str, Client] = TTLCache(MAX_CLIENTS, CLIENT_LIFETIME, time.monotonic)
        self._codes: TTLCache[str, Authorized] = TTLCache(MAX_CODES, CODE_LIFETIME, time.monotonic)

    def register(self, wanted: object) -> dict[str, Any]:
        """Register a client; returns the response of RFC 7591 section 3.2.1.

        Raises:
            CodeFlowError: ``invalid_redirect_uri`` or ``invalid_client_metadata``.
        """
        if not isinstance(wanted, dict):
            raise CodeFlowError("invalid_client_metadata", "a JSON object is expected")
        uris = wanted.get("redirect_uris")
        if not isinstance(uris, list) or not 0 < len(uris) <= 10 or not all(map(_redirectable, uris)):  # noqa: PLR2004
            raise CodeFlowError("invalid_redirect_uri", "one to ten https or loopback addresses are expected")
        method = wanted.get("token_endpoint_auth_method", "none")
        if method != "none":
            raise CodeFlowError("invalid_client_metadata", "only public clients can register")
        name = wanted.get("client_name")
        client = Client(
            client_id=f"demo-{secrets.token_urlsafe(12)}",
            redirect_uris=tuple(uris),
            name=name[:100] if isinstance(name, str) else "a client",
        )
        self._clients[client.client_id] = client
        return {
            "client_id": client.client_id,
            "client_id_issued_at": int(time.time()),
            "client_name": client.name,
            "redirect_uris": list(client.redirect_uris),
            "grant_types": ["authorization_code"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }

    def read(self, query: Mapping[str, str]) -> AuthorizationRequest:
        """Check an authorization request.

        Raises:
            CodeFlowError: it is not one; nothing may be sent to its redirect address then.
        """
        client = self._clients.get(query.get("client_id", ""))
        if client is None:
            raise CodeFlowError("invalid_request", "the client is not registered")
        redirect_uri = query.get("redirect_uri", "")
        if redirect_uri not in client.redirect_uris:
            raise CodeFlowError("invalid_request", "redirect_uri is not one of the client's")
        if query.get("response_type") != "code":
            raise CodeFlowError("unsupported_response_type", "response_type must be code")
        challenge = query.get("code_challenge", "")
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
            raise CodeFlowError("invalid_request", "PKCE with S256 is required")
        return AuthorizationRequest(
            client=client,
            redirect_uri=redirect_uri,
            challenge=challenge,
            resource=query.get("resource") or None,
            scope=query.get("scope") or "openid mcp",
            state=query.get("state"),
        )

    def approve(self, request: AuthorizationRequest, account: str) -> str:
        """The address that takes the browser back to the client with a code (and RFC 9207's ``iss``)."""
        code = secrets.token_urlsafe(32)
        self._codes[code] = Authorized(request, account)
        parameters = {"code": code, "iss": self._issuer}
        if request.state is not None:
            parameters["state"] = request.state
        separator = "&" if urlsplit(request.redirect_uri).query else "?"
        return f"{request.redirect_uri}{separator}{urlencode(parameters)}"

    def redeem(self, form: Mapping[str, str]) -> Authorized:
        """What a code stands for; the code is used up, whether it fits or not.

        Raises:
            CodeFlowError: ``invalid_grant`` or ``invalid_target``.
        """
        authorized = self._codes.pop(form.get("code", ""), None)
        if authorized is None:
            raise CodeFlowError("invalid_grant", "the code is unknown, used or expired")
        request = authorized.request
        if form.get("client_id") != request.client.client_id:
            raise CodeFlowError("invalid_grant", "the code is another client's")
        if form.get("redirect_uri") != request.redirect_uri:
            raise CodeFlowError("invalid_grant", "redirect_uri is another one")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if not hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"="), request.challenge.encode()):
            raise CodeFlowError("invalid_grant", "code_verifier does not fit")
        if form.get("resource", request.resource) != request.resource:
            raise CodeFlowError("invalid_target", "resource is another one")
        return authorized


def _redirectable(uri: object) -> bool:
    if not isinstance(uri, str) or len(uri) > 1000:  # noqa: PLR2004
        return False
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    if parts.fragment or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
