"""From an unverified token to an ``Identity``: the steps of RFC 8725 and RFC 9068, in order.

1. format   compact form, three base64url segments, bounded length (RFC 7515 3.1)
2. header   one JSON object; algorithm allowed; type expected; nothing critical that we do not know
3. issuer   chosen by the exact ``iss``, before any key is looked at
4. key      of that issuer only; fits the algorithm
5. signature
6. times    ``exp`` required; ``nbf`` and ``iat`` when present
7. audience one of the issuer's, exactly
8. subject  a non-empty text

Not checked here: whether STS would accept the token, and revocation at the provider.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from extproc import strictjson
from extproc.authn.keys import MAX_KID_LENGTH, SUPPORTED_ALGORITHMS, KeyStore, VerificationKey
from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.values import Identity

MAX_TOKEN_BYTES = 20_000  # STS's limit for WebIdentityToken
MAX_SUBJECT_LENGTH = 255  # STS's limit for SubjectFromWebIdentityToken
MAX_TIMESTAMP = 2**40  # some 35,000 years; keeps arithmetic on times exact
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """What is accepted from one issuer. ``leeway`` in seconds; types in lower case, "" for absent."""

    issuer: str
    audiences: frozenset[str]
    algorithms: frozenset[str]
    token_types: frozenset[str]
    leeway: float
    keys: KeyStore = field(repr=False)

    def __post_init__(self) -> None:
        """Emptiness never means "anything goes"."""
        if not (self.issuer and self.audiences and self.algorithms and self.token_types):
            raise ValueError("an issuer needs audiences, algorithms and token types")
        if not self.algorithms <= SUPPORTED_ALGORITHMS:
            raise ValueError("unsupported algorithm")


@dataclass(frozen=True, slots=True)
class _Parsed:
    header: Mapping[str, Any]
    claims: Mapping[str, Any]


class Verifier:
    """Verifies tokens of the trusted issuers."""

    def __init__(self, *, issuers: list[TrustedIssuer], clock: Clock) -> None:
        if not issuers:
            raise ValueError("at least one issuer is required")
        self._issuers = {trusted.issuer: trusted for trusted in issuers}
        if len(self._issuers) != len(issuers):
            raise ValueError("an issuer is configured twice")
        self._clock = clock

    async def verify(self, unverified_token: str) -> Identity:
        """Verify one token; waits only while an unknown key is fetched.

        Raises:
            Denied: with the reason of the first step that fails.
        """
        unverified = _parse(unverified_token)  # steps 1 and 2a
        trusted = self._issuer(unverified.claims)
        algorithm = _check_header(unverified.header, trusted)
        key = await trusted.keys.find(unverified.header.get("kid"), algorithm)
        _check_signature(unverified_token, key, algorithm)
        claims = unverified.claims  # from here on signed
        expires_at = self._check_times(claims, trusted.leeway)
        _check_audience(claims, trusted.audiences)
        subject = _check_subject(claims)
        return Identity(
            issuer=trusted.issuer,
            subject=subject,
            expires_at=expires_at,
            claims=claims,
            key_thumbprint=key.thumbprint,
        )

    def still_trusted(self, identity: Identity) -> bool:
        """Whether the key that verified this identity is still published by its issuer. Does no I/O."""
        trusted = self._issuers.get(identity.issuer)
        keys = trusted.keys.current() if trusted else None
        return keys is not None and keys.contains(identity.key_thumbprint)

    def _issuer(self, claims: Mapping[str, Any]) -> TrustedIssuer:
        issuer = claims.get("iss")
        trusted = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if trusted is None:
            raise Denied(Reason.ISSUER_UNKNOWN, "iss is no configured issuer")
        return trusted

    def _check_times(self, claims: Mapping[str, Any], leeway: float) -> float:
        now = self._clock()
        expires_at = _timestamp(claims, "exp")
        if expires_at is None:
            raise Denied(Reason.CLAIM_INVALID, "exp is missing")
        if now >= expires_at + leeway:
            raise Denied(Reason.TOKEN_EXPIRED, f"expired {now - expires_at:.0f} s ago")
        for name in ("nbf", "iat"):
            instant = _timestamp(claims, name)
            if instant is not None and instant > now + leeway:
                raise Denied(Reason.TOKEN_NOT_YET_VALID, f"{name} is {instant - now:.0f} s ahead")
        return float(expires_at)


def _parse(unverified_token: str) -> _Parsed:
    if len(unverified_token) > MAX_TOKEN_BYTES or not _COMPACT.fullmatch(unverified_token):
        raise Denied(Reason.TOKEN_MALFORMED, "not a compact JWS of at most 20,000 bytes")
    header, claims, _ = (_decode(segment) for segment in unverified_token.split("."))
    try:
        return _Parsed(strictjson.loads_object(header), strictjson.loads_object(claims))
    except strictjson.AmbiguousJSONError as error:
        raise Denied(Reason.TOKEN_MALFORMED, str(error)) from None


def _decode(segment: str) -> bytes:
    """Base64url without padding, in its only canonical form (RFC 4648 3.5).

    Unused trailing bits must be zero: otherwise one signature has several spellings, and
    one token several digests.
    """
    try:
        raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise Denied(Reason.TOKEN_MALFORMED, "not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != segment.encode():
        raise Denied(Reason.TOKEN_MALFORMED, "not canonical base64url")
    return raw


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


_JWS = jwt.PyJWS(algorithms=sorted(SUPPORTED_ALGORITHMS), options={"verify_signature": True})


def _check_signature(unverified_token: str, key: VerificationKey, algorithm: str) -> None:
    try:
        # The algorithm comes from the allow-list and fits the key: find() saw to both.
        _JWS.decode_complete(unverified_token.encode("ascii"), key=key.public_key, algorithms=[algorithm])
    except Exception as error:  # noqa: BLE001 - PyJWT and cryptography raise unrelated types
        raise Denied(Reason.SIGNATURE_INVALID, type(error).__name__) from None


def _timestamp(claims: Mapping[str, Any], name: str) -> int | None:
    """An integer NumericDate; STS takes no others (RFC 7519 2 would allow fractions)."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is not int or not 0 <= value <= MAX_TIMESTAMP:
        raise Denied(Reason.CLAIM_INVALID, f"{name} is not an integer timestamp")
    return value


def _check_audience(claims: Mapping[str, Any], accepted: frozenset[str]) -> None:
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(entry, str) for entry in audiences):
        raise Denied(Reason.AUDIENCE_WRONG, "aud is missing or not text")
    if accepted.isdisjoint(audiences):
        raise Denied(Reason.AUDIENCE_WRONG, "aud names none of the issuer's audiences")


def _check_subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        raise Denied(Reason.CLAIM_INVALID, "sub is not a text of 1 to 255 characters")
    return subject
