"""From an unverified token to an ``Identity``: the steps of RFC 8725 and RFC 9068, in order.

 1. format    compact form, three base64url segments, bounded length, two unambiguous JSON objects
 2. issuer    chosen by the exact ``iss``, before anything else is looked at
 3. header    algorithm allowed; type expected; nothing critical that we do not know
 4. key       of that issuer only; fits the algorithm
 5. signature ours to check, or Envoy's jwt_authn verified this very token (then there is no step 4)
 6. times     ``exp`` required; ``nbf`` and ``iat`` when present
 7. audience  one of the issuer's, as ``authn.audience`` compares them
 8. subject   a non-empty text; no string has U+0000
 9. claims    those that the issuer's configuration requires
10. scopes    all that the issuer's configuration requires, each itself or by one that includes it

Not checked here: whether STS would accept the token, and revocation at the provider.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Protocol

import jwt

from extproc.authn.audience import NO_AUDIENCES, Audiences
from extproc.authn.claims import (
    ClaimValue,
    check_audience,
    check_required_claims,
    check_scopes,
    check_strings,
    check_subject,
    check_times,
    check_timestamps,
)
from extproc.authn.envoy_jwt import check_same_token, is_same_token
from extproc.authn.keys import MAX_KID_LENGTH, SUPPORTED_ALGORITHMS, KeyStore, VerificationKey
from extproc.authn.token import TokenLimits, UnverifiedToken, check_form, parse
from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.scopes import NO_SCOPES, RequiredScopes
from extproc.values import Identity

NEVER_ACCEPTED_TYPES = frozenset(
    {"dpop+jwt", "logout+jwt", "oauth-authz-req+jwt", "secevent+jwt", "token-introspection+jwt"}
)
"""Signed by the same keys or sent by clients, but never a statement about who is calling (RFC 8725 3.11)."""

_SIGNATURES = {name: jwt.get_algorithm_by_name(name) for name in SUPPORTED_ALGORITHMS}


class Step(IntEnum):
    """The verification steps, as numbered above."""

    FORMAT = 1
    ISSUER = 2
    HEADER = 3
    KEY = 4
    SIGNATURE = 5
    TIMES = 6
    AUDIENCE = 7
    SUBJECT = 8
    CLAIMS = 9
    SCOPES = 10


def _unobserved(_step: Step) -> None:
    """Nobody watches."""


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """What is accepted from one issuer. ``leeway`` in seconds; types in lower case, "" for absent.

    ``keys`` None: Envoy's jwt_authn verifies this issuer's tokens. ``exchange_header``: the
    header with the token that goes to STS in the bearer token's place, for ``exchange_audiences``.
    ``config_digest``: SHA-256 of the issuer's configuration; changes when any setting does.
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
    config_digest: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Emptiness never means "anything goes"."""
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
        if self.exchange_header and not (self.exchange_audiences and self.keys):
            raise ValueError("a separate token for STS needs audiences and keys")


class TokenVerifier(Protocol):
    """What the pipeline asks of a verifier. ``extproc explain`` puts one in front that takes notes."""

    reads_jwt_payload: bool
    exchange_headers: frozenset[str]

    async def verify(
        self, unverified_token: str, *, jwt_payload: Mapping[str, object] | None = None
    ) -> Identity:
        """Verify one bearer token; raises ``Denied``."""
        ...

    async def for_exchange(
        self, identity: Identity, unverified_token: str, unverified_exchange_tokens: Mapping[str, str]
    ) -> tuple[Identity, str]:
        """Return the identity as long as both tokens live, and the token for STS; raises ``Denied``."""
        ...

    def still_trusted(self, identity: Identity, jwt_payload: Mapping[str, object] | None) -> bool:
        """Whether what verified this identity still would."""
        ...


class Verifier:
    """Verifies tokens of the trusted issuers."""

    def __init__(
        self, *, issuers: list[TrustedIssuer], clock: Clock, limits: TokenLimits | None = None
    ) -> None:
        if not issuers:
            raise ValueError("at least one issuer is required")
        self._issuers = {trusted.issuer: trusted for trusted in issuers}
        if len(self._issuers) != len(issuers):
            raise ValueError("an issuer is configured twice")
        self._clock = clock
        self._limits = limits or TokenLimits()
        self.reads_jwt_payload = any(trusted.keys is None for trusted in issuers)
        """Whether the word of Envoy's jwt_authn is wanted at all."""
        self.exchange_headers = frozenset(
            trusted.exchange_header for trusted in issuers if trusted.exchange_header
        )
        """Headers that may carry a token for STS."""

    async def verify(
        self,
        unverified_token: str,
        *,
        jwt_payload: Mapping[str, object] | None = None,
        begin: Callable[[Step], None] = _unobserved,
    ) -> Identity:
        """Verify one bearer token; waits only while an unknown key is fetched.

        ``jwt_payload``: what Envoy says it verified. ``begin`` is told each step before it is taken.

        Raises:
            Denied: with the reason of the first step that fails.
        """
        trusted, identity = await self._verify(unverified_token, jwt_payload, begin)
        begin(Step.CLAIMS)
        check_required_claims(identity.claims, trusted.required_claims)
        begin(Step.SCOPES)
        check_scopes(identity.claims, trusted.required_scopes)
        return identity

    def assume(
        self, claims: Mapping[str, Any], *, expires_at: float, begin: Callable[[Step], None] = _unobserved
    ) -> Identity:
        """Return the identity of claims that are taken as verified. For explanations only.

        Steps 3 to 5, a token's size and what time it is now are taken for passed. What the others ask
        is asked of the claims that are there: ``iss``, ``exp``, ``aud`` and ``sub`` may be left out.
        Without ``iss`` the claims are of the only issuer; if there are several, required claims and
        scopes are asked of nobody.

        Raises:
            Denied: no token with these claims could ever be verified.
        """
        begin(Step.FORMAT)
        check_form(claims, self._limits)
        if "iss" in claims or len(self._issuers) == 1:
            begin(Step.ISSUER)
            trusted = self._trusted(claims) if "iss" in claims else next(iter(self._issuers.values()))
            if "aud" in claims:
                begin(Step.AUDIENCE)
                check_audience(claims, trusted.audiences)
        else:
            trusted = None
        begin(Step.TIMES)
        check_timestamps(claims)
        if "sub" in claims:
            begin(Step.SUBJECT)
            check_subject(claims)
        check_strings(claims)
        if trusted is not None:
            begin(Step.CLAIMS)
            check_required_claims(claims, trusted.required_claims)
            begin(Step.SCOPES)
            check_scopes(claims, trusted.required_scopes)
        return Identity(
            issuer=trusted.issuer if trusted else "",
            subject=claims.get("sub", ""),
            expires_at=expires_at,
            claims=claims,
            key_thumbprint=None,
        )

    def takes_envoys_word(self, issuer: object) -> bool:
        """Whether Envoy's jwt_authn verifies this issuer's tokens."""
        trusted = self._issuers.get(issuer) if isinstance(issuer, str) else None
        return trusted is not None and trusted.keys is None

    async def for_exchange(
        self, identity: Identity, unverified_token: str, unverified_exchange_tokens: Mapping[str, str]
    ) -> tuple[Identity, str]:
        """The token that goes to STS for an identity, and the identity as long as both tokens live.

        ``unverified_token`` is the one that gave the identity; the others came in headers, by
        name. One of them takes its place where its issuer is configured so. It passes steps 1
        to 8; required claims and scopes are for the token that gives access.

        Raises:
            Denied: it is missing, not valid, or of another issuer or subject.
        """
        trusted = self._issuers[identity.issuer]
        if unverified_exchange_tokens.keys() - {trusted.exchange_header}:
            # Part of the session's key, but verified by nobody: each value would be another session.
            raise Denied(Reason.AUTHORIZATION_MALFORMED, "a token header that is another issuer's")
        if trusted.exchange_header is None:
            return identity, unverified_token
        token = unverified_exchange_tokens.get(trusted.exchange_header)
        if token is None:
            raise Denied(Reason.EXCHANGE_TOKEN_MISSING, f"no {trusted.exchange_header}")
        _, other = await self._verify(token, None, _unobserved, for_exchange=True)
        if (other.issuer, other.subject) != (identity.issuer, identity.subject):
            raise Denied(Reason.EXCHANGE_TOKEN_FOREIGN, f"{trusted.exchange_header} is of another subject")
        both = replace(
            identity,
            expires_at=min(identity.expires_at, other.expires_at),
            exchange_key_thumbprint=other.key_thumbprint,
        )
        return both, token

    async def _verify(
        self,
        unverified_token: str,
        jwt_payload: Mapping[str, object] | None,
        begin: Callable[[Step], None],
        *,
        for_exchange: bool = False,
    ) -> tuple[TrustedIssuer, Identity]:
        """Steps 1 to 8."""
        begin(Step.FORMAT)
        unverified = parse(unverified_token, self._limits)
        begin(Step.ISSUER)
        trusted = self._trusted(unverified.claims)
        begin(Step.HEADER)
        algorithm = _check_header(unverified.header, trusted)
        if trusted.keys is None:
            key = None
            begin(Step.SIGNATURE)
            check_same_token(unverified.claims, jwt_payload)
        else:
            begin(Step.KEY)
            key = await trusted.keys.find(unverified.header.get("kid"), algorithm)
            begin(Step.SIGNATURE)
            _check_signature(unverified, key, algorithm)
        claims = unverified.claims  # from here on signed
        begin(Step.TIMES)
        expires_at = check_times(claims, now=self._clock(), leeway=trusted.leeway)
        begin(Step.AUDIENCE)
        check_audience(claims, trusted.exchange_audiences if for_exchange else trusted.audiences)
        begin(Step.SUBJECT)
        subject = check_subject(claims)
        check_strings(claims)
        return trusted, Identity(
            issuer=trusted.issuer,
            subject=subject,
            expires_at=expires_at,
            claims=_sharing_texts(claims),
            key_thumbprint=key.thumbprint if key else None,
            config_digest=trusted.config_digest,
        )

    def knows(self, identity: Identity) -> bool:
        """Return whether the identity was verified under the present configuration of its issuer."""
        trusted = self._issuers.get(identity.issuer)
        return trusted is not None and trusted.config_digest == identity.config_digest

    def still_trusted(self, identity: Identity, jwt_payload: Mapping[str, object] | None) -> bool:
        """Whether what verified this identity still would. Does no I/O.

        Its issuer's configuration must be the same, also if a verifier of another configuration
        comes late with it. Its keys must still be published by its issuer. What Envoy verified,
        it must have verified again for this request.
        """
        trusted = self._issuers.get(identity.issuer)
        if trusted is None or trusted.config_digest != identity.config_digest:
            return False
        if trusted.keys is None:
            return jwt_payload is not None and is_same_token(identity.claims, jwt_payload)
        keys = trusted.keys.current()
        if keys is None or identity.key_thumbprint is None or not keys.contains(identity.key_thumbprint):
            return False
        return identity.exchange_key_thumbprint is None or keys.contains(identity.exchange_key_thumbprint)

    def _trusted(self, unverified_claims: Mapping[str, Any]) -> TrustedIssuer:
        issuer = unverified_claims.get("iss")
        trusted = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if trusted is None:
            raise Denied(Reason.ISSUER_UNKNOWN, "iss is no configured issuer")
        return trusted


def _sharing_texts(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same claims; names, and the groups that many users have, are one text in memory for all of them."""
    return {
        sys.intern(name): [sys.intern(each) if type(each) is str else each for each in value]
        if isinstance(value, list)
        else value
        for name, value in claims.items()
    }


def _check_header(header: Mapping[str, Any], trusted: TrustedIssuer) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in trusted.algorithms:
        raise Denied(Reason.ALGORITHM_REFUSED, "alg is not allowed for this issuer")
    token_type = header.get("typ", "")
    if not isinstance(token_type, str) or token_type.lower() not in trusted.token_types:
        raise Denied(Reason.TOKEN_MALFORMED, "typ is not expected from this issuer")
    if "crit" in header or "b64" in header:  # RFC 7515 4.1.11, RFC 7797: we know no extension
        raise Denied(Reason.TOKEN_MALFORMED, "critical header parameters are not supported")
    kid = header.get("kid", "")
    if not isinstance(kid, str) or len(kid) > MAX_KID_LENGTH:
        raise Denied(Reason.TOKEN_MALFORMED, "kid is not a short text")
    return algorithm


def _check_signature(unverified: UnverifiedToken, key: VerificationKey, algorithm: str) -> None:
    # The algorithm comes from the allow-list and fits the key: find() saw to both. The segments are
    # decoded already, so the primitive is called as PyJWT itself would call it for this algorithm.
    try:
        valid = _SIGNATURES[algorithm].verify(unverified.signing_input, key.public_key, unverified.signature)
    except Exception as error:  # noqa: BLE001 - cryptography raises unrelated types
        raise Denied(Reason.SIGNATURE_INVALID, type(error).__name__) from None
    if valid is not True:
        raise Denied(Reason.SIGNATURE_INVALID, "the signature does not fit the key")
