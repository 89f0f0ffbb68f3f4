"""The demo provider's refresh tokens: each works once, and a second use ends its login.

RFC 9700 section 4.14.2 requires this for public clients: if a stolen token and its successor are both
used, the provider notices.
"""

import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from cachetools import TTLCache

from extproc.demo.idp_errors import OAuthError

LIFETIME: Final = 30 * 86_400.0  # seconds since the last use
MAX_LOGINS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Login:
    """A login, for which a client gets access tokens without another one."""

    account: str
    client_id: str
    audience: str
    scope: str


@dataclass(frozen=True, slots=True)
class _Family:
    login: Login
    current: str  # the secret of the only valid token


class RefreshTokens:
    """Keeps logins in memory, limited in number and time; a token is ``FAMILY.SECRET``."""

    def __init__(self) -> None:
        self._families: TTLCache[str, _Family] = TTLCache(MAX_LOGINS, LIFETIME, time.monotonic)

    def begin(self, login: Login) -> str:
        """Return the first token of a login."""
        return self._put(secrets.token_urlsafe(16), login)

    def rotate(self, form: Mapping[str, str]) -> tuple[Login, str]:
        """Use a token (RFC 6749 section 6); return its login and the token that replaces it.

        The scope of one access token may be narrowed; the new refresh token keeps that of the login.

        Raises:
            OAuthError: ``invalid_grant``, ``invalid_scope`` or ``invalid_target``.
        """
        name, _, secret = form.get("refresh_token", "").partition(".")
        family = self._families.get(name)
        if family is None:
            raise OAuthError("invalid_grant", "the refresh token is unknown, expired or revoked")
        login = family.login
        # Only holders of a token of this login know the family's name: it was used before, or is made up.
        if not hmac.compare_digest(secret.encode(), family.current.encode()):
            del self._families[name]
            raise OAuthError("invalid_grant", "the refresh token was used before: the login has ended")
        if form.get("client_id") != login.client_id:
            raise OAuthError("invalid_grant", "the refresh token is another client's")
        if form.get("resource", login.audience) != login.audience:
            raise OAuthError("invalid_target", "the login is for another resource")
        scope = form.get("scope") or login.scope
        if not set(scope.split()) <= set(login.scope.split()):
            raise OAuthError("invalid_scope", "the login has not all of these scopes")
        return replace(login, scope=scope), self._put(name, login)

    def _put(self, name: str, login: Login) -> str:
        secret = secrets.token_urlsafe(32)
        self._families[name] = _Family(login, secret)
        return f"{name}.{secret}"
