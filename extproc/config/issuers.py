"""``resource``, ``issuers``, ``refresh``: which tokens are accepted, and where their keys come from."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from extproc.authn.claims import ClaimValue
from extproc.authn.jwks import SUPPORTED_ALGORITHMS
from extproc.authn.trusted_issuer import NEVER_ACCEPTED_TYPES
from extproc.config.fields import ScopeName, Section, TokenHeader, Url, is_plaintext
from extproc.config.token_exchange import TokenExchangeSettings
from extproc.loopback import is_loopback_url


class Resource(Section):
    """The protected resource as clients call it (RFC 9728)."""

    url: Url  # safe in quoted strings of headers (RFC 9110 5.6.4)
    aliases: Annotated[list[Url], Field(max_length=32)] = []  # the same endpoint under other hosts
    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    @model_validator(mode="after")
    def _hosts_differ(self) -> "Resource":
        of_url = urlsplit(self.url)
        hosts = {of_url.netloc.lower()}
        for alias in self.aliases:
            parts = urlsplit(alias)
            if parts.path != of_url.path:
                raise ValueError(f"aliases: {alias} must have the path of resource.url, {of_url.path or '/'}")
            if parts.netloc.lower() in hosts:
                raise ValueError(
                    f"aliases: {alias} has the host of another URL, and only the host distinguishes requests"
                )
            hosts.add(parts.netloc.lower())
        return self


class Refresh(Section):
    """When an issuer's keys are refreshed. Times in seconds."""

    interval: Annotated[int, Field(ge=10, le=86_400)] = 300  # without Cache-Control
    shortest: Annotated[int, Field(ge=10, le=86_400)] = 60
    longest: Annotated[int, Field(ge=10, le=86_400)] = 3600
    cooldown: Annotated[int, Field(ge=1, le=3600)] = 30
    max_staleness: Annotated[int, Field(ge=60, le=604_800)] = 86_400

    @model_validator(mode="after")
    def _ordered(self) -> "Refresh":
        if not self.shortest <= self.interval <= self.longest <= self.max_staleness:
            raise ValueError("shortest, interval, longest and max_staleness must be in ascending order")
        return self


class Issuer(Section):
    """One trusted OIDC provider."""

    issuer: Url
    audiences: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    ignore_audience_slash: bool = False  # at the end of the path
    algorithms: Annotated[list[str], Field(min_length=1)] = ["RS256", "ES256"]
    token_types: Annotated[list[str], Field(min_length=1)] = ["at+jwt", "application/at+jwt", "JWT", ""]
    leeway: Annotated[int, Field(ge=0, le=120)] = 30  # seconds
    jwks_uri: Url | None = None
    jwks_file: str | None = None
    allow_insecure_http: bool = False
    required_claims: dict[str, ClaimValue | Annotated[list[ClaimValue], Field(min_length=1)]] = {}
    required_scopes: list[ScopeName] = []
    refresh: Refresh | None = None  # default: the global one
    verified_by: Literal["extproc", "envoy"] = "extproc"
    sts_token_header: TokenHeader | None = None
    sts_token_audiences: list[Annotated[str, Field(min_length=1)]] = []  # default: audiences
    token_exchange: TokenExchangeSettings | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Issuer":
        unsupported = sorted(set(self.algorithms) - SUPPORTED_ALGORITHMS)
        if unsupported:
            raise ValueError(f"algorithms: {unsupported} not supported; STS takes RS and ES only")
        refused = [name for name in self.token_types if _bare_type(name) in NEVER_ACCEPTED_TYPES]
        if refused:
            raise ValueError(f"token_types: {refused[0]} is never an access token")
        if self.sts_token_audiences and not self.sts_token_header:
            raise ValueError("sts_token_audiences without sts_token_header")
        if self.verified_by == "envoy" and not (self.jwks_uri or self.jwks_file):
            raise ValueError("verified_by: envoy needs jwks_uri or jwks_file: jwt_authn does no discovery")
        if self.verified_by == "envoy" and self.sts_token_header:
            raise ValueError("verified_by: envoy and sts_token_header exclude each other")
        if self.jwks_uri and self.jwks_file:
            raise ValueError("jwks_uri and jwks_file exclude each other")
        url = self.jwks_uri or self.issuer
        if (
            not self.jwks_file
            and url.startswith("http:")
            and not (is_loopback_url(url) or self.allow_insecure_http)
        ):
            raise ValueError("keys are fetched over HTTPS only; allow_insecure_http: true is for tests")
        return self

    @model_validator(mode="after")
    def _can_exchange(self) -> "Issuer":
        exchange = self.token_exchange
        if exchange is None:
            return self
        if self.sts_token_header:
            raise ValueError("token_exchange and sts_token_header exclude each other")
        if exchange.token_endpoint is not None:
            return self
        if self.verified_by == "envoy":
            raise ValueError("token_exchange: verified_by: envoy needs token_endpoint: there is no discovery")
        if is_plaintext(self.issuer) and not exchange.insecure_plaintext:
            raise ValueError(
                "token_exchange: the token endpoint would come from metadata that is fetched in clear text, "
                "and whoever changes it gets users' tokens; set token_endpoint"
            )
        return self


def _bare_type(token_type: str) -> str:
    return token_type.lower().removeprefix("application/")
