"""``issuers[].token_exchange``: trading users' tokens at the provider for tokens that are meant for AWS."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from extproc.authn.claims import ClaimValue
from extproc.config.fields import Section, Url, is_plaintext

SigningAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
Method = Literal["client_secret_basic", "client_secret_post", "private_key_jwt", "client_assertion"]
"""How the gateway authenticates at the token endpoint (OpenID Connect Core 1.0 section 9, RFC 7523 2.2)."""

_Name = Annotated[str, Field(min_length=1, max_length=2048)]
_SCOPE = r"[\x21\x23-\x5B\x5D-\x7E]+"  # RFC 6749 3.3
_Scopes = Annotated[str, Field(pattern=rf"^{_SCOPE}( {_SCOPE})*$")]
_Path = Annotated[str, Field(min_length=1)]
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693 3

_METHODS: dict[str, tuple[Method, ...]] = {
    "client_secret_file": ("client_secret_basic", "client_secret_post"),
    "private_key_file": ("private_key_jwt",),
    "client_assertion_file": ("client_assertion",),
}
"""The methods for which each file is, the default first."""


class TokenExchangeSettings(Section):
    """How a user's token is exchanged, and what the token must have that comes back."""

    grant: Literal["token-exchange", "jwt-bearer"]  # RFC 8693; RFC 7523 with requested_token_use=on_behalf_of
    token_endpoint: Url | None = None  # default: OIDC discovery
    insecure_plaintext: bool = False  # http:// to another machine
    client_id: _Name
    client_authentication: Method | None = None  # default: by the file that is given
    client_secret_file: _Path | None = None
    private_key_file: _Path | None = None  # PEM
    key_id: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    signing_algorithm: SigningAlgorithm | None = None  # default: by the kind of the key
    certificate_file: _Path | None = None  # PEM; its thumbprint goes into the assertion as x5t#S256
    assertion_audience: _Name | None = None  # default: the token endpoint
    client_assertion_file: _Path | None = None
    audience: _Name | list[_Name] = []
    resource: Url | list[Url] = []
    scope: _Scopes | list[_Scopes] = []
    subject_token_type: _Name = _ACCESS_TOKEN
    requested_token_type: _Name | None = None
    token_issuer: Url | None = None  # default: the same issuer
    token_audiences: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    token_required_claims: dict[str, ClaimValue | Annotated[list[ClaimValue], Field(min_length=1)]] = {}
    subject_claim: _Name = "sub"
    token_subject_claim: _Name | None = None  # default: subject_claim

    @model_validator(mode="after")
    def _consistent(self) -> "TokenExchangeSettings":
        given = [name for name in _METHODS if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(_METHODS)} is required")
        if self.client_authentication not in (None, *_METHODS[given[0]]):
            raise ValueError(f"client_authentication: {self.client_authentication} does not use {given[0]}")
        for name in ("key_id", "signing_algorithm", "certificate_file", "assertion_audience"):
            if getattr(self, name) and not self.private_key_file:
                raise ValueError(f"{name} without private_key_file")
        if self.grant == "jwt-bearer":
            for name in ("subject_token_type", "requested_token_type"):
                if name in self.model_fields_set:
                    raise ValueError(f"{name} is of grant: token-exchange")
        if is_plaintext(self.token_endpoint) and not self.insecure_plaintext:
            raise ValueError(
                "token_endpoint: users' tokens and the gateway's credentials would go over the network in "
                "clear text; use https://, or insecure_plaintext: true only where the network is private"
            )
        return self

    @property
    def method(self) -> Method:
        """How the gateway authenticates."""
        given = next(name for name in _METHODS if getattr(self, name))
        return self.client_authentication or _METHODS[given][0]

    @property
    def audiences(self) -> list[str]:
        """The values of the parameter ``audience``."""
        return _listed(self.audience)

    @property
    def resources(self) -> list[str]:
        """The values of the parameter ``resource``."""
        return _listed(self.resource)

    @property
    def scopes(self) -> str:
        """The value of the parameter ``scope``, separated by spaces."""
        return " ".join(_listed(self.scope))

    @property
    def files(self) -> list[tuple[str, str]]:
        """The names of the settings that are files, with their paths."""
        names = (*_METHODS, "certificate_file")
        return [(name, getattr(self, name)) for name in names if getattr(self, name)]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
