"""``console``: how people log in to the web console, and who may look, act and see claims."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from extproc.config.fields import HostPort, ScopeName, Section, Url, expression
from extproc.config.listen import Tls, client_name
from extproc.loopback import is_loopback_url
from extproc.policy.matchers import token_matcher

Matcher = Annotated[str, AfterValidator(expression(token_matcher))]
Clients = list[Annotated[str, AfterValidator(client_name)]]


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if value != f"{parts.scheme}://{parts.netloc}".lower():
        raise ValueError("must be scheme://host as browsers send it: lower case, no path")
    return value


class ConsoleOidc(Section):
    """Login at one of ``issuers``, by OpenID Connect's code flow with PKCE."""

    client_id: Annotated[str, Field(min_length=1, max_length=512)]
    client_secret_file: Annotated[str, Field(min_length=1)] | None = None  # for confidential clients
    issuer: Url | None = None  # default: the only one of issuers
    scopes: list[ScopeName] = ["openid"]

    @model_validator(mode="after")
    def _is_openid(self) -> "ConsoleOidc":
        if "openid" not in self.scopes:
            raise ValueError("scopes: openid is missing: without it there is no ID token")
        return self


class Console(Section):
    """The web console. ``url``: as browsers call it; by default the address of ``listen.console``.

    Rules are for logins by OIDC, lists of clients for those by certificate. Whoever no rule and no list
    lets look cannot log in. Nobody may act or see claims by default.
    """

    url: Annotated[Url, AfterValidator(_origin)] | None = None
    tls: Tls | None = None  # with client_ca, its allowed_clients may look
    oidc: ConsoleOidc | None = None
    matcher: Matcher | None = None
    act_matcher: Matcher | None = None
    claims_matcher: Matcher | None = None
    act_clients: Clients = []
    claims_clients: Clients = []
    socket_user: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    session_minutes: Annotated[int, Field(ge=5, le=1440)] = 480
    idle_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    envoy_admin: HostPort | None = None  # whose configuration is checked

    @model_validator(mode="after")
    def _is_guarded(self) -> "Console":
        if self.oidc is not None and self.matcher is None:
            raise ValueError("oidc needs matcher: it says who may look")
        if self.oidc is None and (self.matcher or self.act_matcher or self.claims_matcher):
            raise ValueError("matchers are for logins by oidc, which is not set")
        certificates = self.tls is not None and self.tls.client_ca is not None
        if self.tls is not None and certificates and not self.tls.allowed_clients:
            raise ValueError("tls.client_ca needs tls.allowed_clients: they say who may look")
        for name in ("act_clients", "claims_clients"):
            if getattr(self, name) and not certificates:
                raise ValueError(f"{name} needs tls.client_ca")
        return self

    def check_address(self, address: str) -> None:
        """Check what depends on ``listen.console``.

        Raises:
            ValueError: without TLS beyond this machine, or without a login.
        """
        if address.startswith("unix:"):
            if not (self.socket_user or self.oidc):
                raise ValueError(
                    "console: a unix: socket needs socket_user, the name that acts are logged with, or oidc"
                )
            return
        if self.socket_user:
            raise ValueError("console.socket_user: only a unix: socket has an owner")
        if self.tls is None and not is_loopback_url(f"http://{address}"):
            raise ValueError("listen.console is not a loopback address: it needs console.tls")
        if self.oidc is None and (self.tls is None or self.tls.client_ca is None):
            raise ValueError("console: no login; set oidc, or tls.client_ca")
