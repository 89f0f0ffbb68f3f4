"""The demo provider's grants: from the form of a token request to the contents of the token.

The password grant is not for production (OAuth 2.1 drops it); here it lets a shell script log in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from extproc.demo.idp_codes import CodeFlow
from extproc.demo.idp_errors import OAuthError
from extproc.demo.idp_keys import ALGORITHMS
from extproc.demo.idp_refresh import Login, RefreshTokens

ACCOUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    "demo-admin": ("admins",),
    "demo-developer": ("developers",),
    "demo-guest": (),
    "demo-azp": ("developers",),
}
AUTHORIZED_PARTY_ACCOUNT: Final = "demo-azp"
"""Its tokens have ``azp`` and ``oid``, as those of Entra ID v2: STS compares ``azp``, not ``aud``."""
PASSWORD: Final = "demo"  # noqa: S105 - printed in the demo's instructions
DEFAULT_LIFETIME: Final = 3600
MAX_LIFETIME: Final = 30 * 86400


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The contents of a token, for any grant."""

    subject: str
    groups: tuple[str, ...]
    audience: str
    client_id: str
    scope: str
    lifetime: int
    algorithm: str
    account: str
    refresh_token: str | None = None
    nonce: str | None = None
    is_login: bool = False  # by a browser, so that there is an ID token


class Grants:
    """Accepts token requests. A new grant adds a method and an entry of the table.

    Attributes:
        lifetime: of the tokens of code and refresh grants, in seconds.
    """

    def __init__(self, *, audience: str, codes: CodeFlow) -> None:
        self._audience = audience
        self._codes = codes
        self._refresh_tokens = RefreshTokens()
        self.lifetime = DEFAULT_LIFETIME
        self._grants = {
            "password": self._password_grant,
            "authorization_code": self._code_grant,
            "refresh_token": self._refresh_grant,
        }

    @property
    def types(self) -> list[str]:
        """Return the values of ``grant_type``, sorted."""
        return sorted(self._grants)

    def accept(self, form: Mapping[str, str]) -> TokenRequest:
        """Return the contents of the token for a request to the token endpoint.

        Raises:
            OAuthError: no token for this request.
        """
        grant = self._grants.get(_required(form, "grant_type"))
        if grant is None:
            raise OAuthError("unsupported_grant_type", f"use one of {sorted(self._grants)}")
        return grant(form)

    def _password_grant(self, form: Mapping[str, str]) -> TokenRequest:
        username, password = _required(form, "username"), _required(form, "password")
        if username not in ACCOUNTS or password != PASSWORD:
            raise OAuthError("invalid_grant", "unknown user or wrong password")
        algorithm = form.get("alg", ALGORITHMS[0])
        if algorithm not in ALGORITHMS:
            raise OAuthError("invalid_request", f"alg must be one of {ALGORITHMS}")
        audience = form.get("audience") or form.get("resource") or self._audience
        groups = ACCOUNTS[username]
        if "groups" in form:
            groups = tuple(group for group in form["groups"].split(",") if group)
        return TokenRequest(
            subject=form.get("user") or username,
            groups=groups,
            audience=audience,
            client_id=form.get("client_id") or "demo-cli",
            scope=form.get("scope") or "openid mcp",
            lifetime=_lifetime(form.get("lifetime")),
            algorithm=algorithm,
            account=username,
        )

    def _code_grant(self, form: Mapping[str, str]) -> TokenRequest:
        authorized = self._codes.redeem(form)
        asked = authorized.request
        login = Login(
            account=authorized.account,
            client_id=asked.client.client_id,
            audience=asked.resource or self._audience,
            scope=asked.scope,
        )
        refresh_token = self._refresh_tokens.begin(login) if asked.client.refreshes else None
        return replace(self._for_login(login, refresh_token), nonce=asked.nonce, is_login=True)

    def _refresh_grant(self, form: Mapping[str, str]) -> TokenRequest:
        _required(form, "refresh_token")
        return self._for_login(*self._refresh_tokens.rotate(form))

    def _for_login(self, login: Login, refresh_token: str | None) -> TokenRequest:
        return TokenRequest(
            subject=login.account,
            groups=ACCOUNTS[login.account],
            audience=login.audience,
            client_id=login.client_id,
            scope=login.scope,
            lifetime=self.lifetime,
            algorithm=ALGORITHMS[0],
            account=login.account,
            refresh_token=refresh_token,
        )


def _required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthError("invalid_request", f"{name} is missing")
    return value


def _lifetime(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIFETIME
    try:
        seconds = int(text)
    except ValueError:
        raise OAuthError("invalid_request", "lifetime must be a whole number of seconds") from None
    if abs(seconds) > MAX_LIFETIME:
        raise OAuthError("invalid_request", f"lifetime must be within {MAX_LIFETIME} seconds")
    return seconds
