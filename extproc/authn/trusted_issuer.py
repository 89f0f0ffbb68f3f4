"""The configuration of one trusted issuer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extproc.authn.audience import NO_AUDIENCES, Audiences
from extproc.authn.claims import ClaimValue
from extproc.authn.jwks import SUPPORTED_ALGORITHMS
from extproc.authn.keys import KeyStore
from extproc.scopes import NO_SCOPES, RequiredScopes

NEVER_ACCEPTED_TYPES = frozenset(
    {"dpop+jwt", "logout+jwt", "oauth-authz-req+jwt", "secevent+jwt", "token-introspection+jwt"}
)
"""Signed by the same keys or sent by clients, but never a statement about who is calling (RFC 8725 3.11)."""


@dataclass(frozen=True, slots=True)
class ExchangedTokens:
    """The requirements for tokens that an identity provider gives in exchange for users' tokens.

    Attributes:
        issuer: the exact ``iss``.
        subject_claim: the claim of the user's token that says whose it is.
        token_subject_claim: the claim of the exchanged token that must have the same value.
    """

    issuer: str
    audiences: Audiences
    required_claims: Mapping[str, tuple[ClaimValue, ...]] = field(default_factory=dict)
    subject_claim: str = "sub"
    token_subject_claim: str = "sub"  # noqa: S105 - the name of a claim


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """One issuer, with the requirements for its tokens.

    Attributes:
        issuer: the exact ``iss``.
        token_types: accepted values of ``typ``, in lower case; "" accepts a token without one.
        leeway: tolerated difference of clocks, in seconds.
        keys: None if Envoy's jwt_authn verifies this issuer's tokens.
        exchange_header: header with a separate token for STS. Without it STS gets the bearer token.
        exchange_audiences: accepted audiences of that token.
        exchanged: requirements for tokens that the provider gives in exchange; None without an exchange.
        config_digest: SHA-256 of the issuer's configuration; changes when any setting does.
    """

    issuer: str
    audiences: Audiences
    algorithms: frozenset[str]
    token_types: frozenset[str]
    leeway: float
    keys: KeyStore | None = field(repr=False)
    required_claims: Mapping[str, tuple[ClaimValue, ...]] = field(default_factory=dict)
    required_scopes: RequiredScopes = NO_SCOPES
    exchange_header: str | None = None
    exchange_audiences: Audiences = NO_AUDIENCES
    exchanged: ExchangedTokens | None = None
    config_digest: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Refuse what would accept too much: an empty set never means "anything goes"."""
        if not (self.issuer and self.audiences and self.algorithms and self.token_types):
            raise ValueError("an issuer needs audiences, algorithms and token types")
        if not self.algorithms <= SUPPORTED_ALGORITHMS:
            raise ValueError("unsupported algorithm")
        if any(
            token_type.removeprefix("application/") in NEVER_ACCEPTED_TYPES for token_type in self.token_types
        ):
            raise ValueError("a token type that is no access token")
        if not all(self.required_claims.values()):
            raise ValueError("a required claim needs values")
        if self.exchanged and not self.exchanged.audiences:
            raise ValueError("exchanged tokens need audiences")
        if self.exchange_header and not (self.exchange_audiences and self.keys):
            raise ValueError("a separate token for STS needs audiences and keys")
