"""The demo provider's authorization code flow.

Clients are public, so PKCE with S256 is required (RFC 7636). A code works once and for
one minute, for the client, redirect address, resource and verifier of its authorization request.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from cachetools import TTLCache

from extproc.demo.idp_clients import Client
from extproc.demo.idp_errors import OAuthError

CODE_LIFETIME: Final = 60.0  # seconds
MAX_CODES: Final = 1000
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # a SHA-256 in base64url


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid request for a code (RFC 6749 section 4.1.1, RFC 7636, RFC 8707)."""

    client: Client
    redirect_uri: str
    challenge: str
    resource: str | None
    scope: str
    state: str | None
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class Authorized:
    """An authorization request that an account approved."""

    request: AuthorizationRequest
    account: str


class CodeFlow:
    """Keeps codes in memory, limited in number and time."""

    def __init__(self, *, issuer: str) -> None:
        self._issuer = issuer
        self._codes: TTLCache[str, Authorized] = TTLCache(MAX_CODES, CODE_LIFETIME, time.monotonic)

    def read(self, client: Client, query: Mapping[str, str]) -> AuthorizationRequest:
        """Check an authorization request of a client.

        Raises:
            OAuthError: the request is not valid; nothing may be sent to its redirect address.
        """
        redirect_uri = query.get("redirect_uri", "")
        if not client.may_return_to(redirect_uri):
            raise OAuthError("invalid_request", "redirect_uri is not one of the client's")
        if query.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type must be code")
        challenge = query.get("code_challenge", "")
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
            raise OAuthError("invalid_request", "PKCE with S256 is required")
        return AuthorizationRequest(
            client=client,
            redirect_uri=redirect_uri,
            challenge=challenge,
            resource=query.get("resource") or None,
            scope=query.get("scope") or "openid mcp",
            state=query.get("state"),
            nonce=query.get("nonce"),
        )

    def approve(self, request: AuthorizationRequest, account: str) -> str:
        """Return the URL that sends the browser back to the client with a code and RFC 9207's ``iss``."""
        code = secrets.token_urlsafe(32)
        self._codes[code] = Authorized(request, account)
        parameters = {"code": code, "iss": self._issuer}
        if request.state is not None:
            parameters["state"] = request.state
        separator = "&" if urlsplit(request.redirect_uri).query else "?"
        return f"{request.redirect_uri}{separator}{urlencode(parameters)}"

    def redeem(self, form: Mapping[str, str]) -> Authorized:
        """Return what a code was issued for, and delete the code, also if it does not fit.

        Raises:
            OAuthError: ``invalid_grant`` or ``invalid_target``.
        """
        authorized = self._codes.pop(form.get("code", ""), None)
        if authorized is None:
            raise OAuthError("invalid_grant", "the code is unknown, used or expired")
        request = authorized.request
        if form.get("client_id") != request.client.client_id:
            raise OAuthError("invalid_grant", "the code is another client's")
        if form.get("redirect_uri") != request.redirect_uri:
            raise OAuthError("invalid_grant", "redirect_uri is another one")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if not hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"="), request.challenge.encode()):
            raise OAuthError("invalid_grant", "code_verifier does not fit")
        if form.get("resource", request.resource) != request.resource:
            raise OAuthError("invalid_target", "resource is another one")
        return authorized
