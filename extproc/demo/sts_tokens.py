"""The STS emulator's verification of web identity tokens: with the provider's keys, as IAM does it.

Steps, in order: 1. the token's form and algorithm; 2. its issuer is registered; 3. the key comes from that
issuer's JWKS; 4. signature and times; 5. the audience: ``azp`` if the token has it, else ``aud``; 6. session
tags and source identity.

Not checked: ``typ``; STS documents no rule for it.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import jwt
from jwt.types import Options

from extproc.demo.sts_session_claims import NO_SESSION_CLAIMS, SessionClaims, read_session_claims
from extproc.demo.sts_wire import StsError

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
JWKS_LIFETIME: Final = 300.0  # seconds until a key set is fetched again
JWKS_LIMIT: Final = 256 * 1024
FETCH_TIMEOUT: Final = 2.0  # seconds
MAX_SUBJECT: Final = 255  # characters, as SubjectFromWebIdentityToken in the service model

BUILT_IN: Final = frozenset({"https://accounts.google.com"})
"""Issuers that AWS knows by itself: no IAM OIDC provider lists their client ids, only trust policies do."""

_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_REQUIRED: Final = ["iss", "sub", "aud", "exp", "iat"]

_READ_ISSUER: Final[Options] = {
    "verify_signature": False,
    "require": [],
    "verify_aud": False,
    "strict_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_iss": False,
    "verify_jti": False,
    "verify_nbf": False,
    "verify_sub": False,
    "enforce_minimum_key_length": False,
}
_VERIFY: Final[Options] = {
    "verify_signature": True,
    "require": _REQUIRED,
    "verify_aud": False,  # by this module: STS takes azp for it
    "strict_aud": False,
    "verify_exp": True,
    "verify_iat": True,
    "verify_iss": True,
    "verify_jti": True,
    "verify_nbf": True,
    "verify_sub": True,
    "enforce_minimum_key_length": True,
}


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """The identity in a verified token.

    Attributes:
        audience: the client id of the provider that the token is for: ``azp``, or one of ``aud``.
        original_audiences: ``aud`` of a token with ``azp``, condition key ``oaud``; else empty.
    """

    issuer: str
    subject: str
    audience: str
    original_audiences: tuple[str, ...] = ()
    session: SessionClaims = NO_SESSION_CLAIMS


@dataclass(frozen=True, slots=True)
class _KeySet:
    keys: Mapping[str, Mapping[str, Any]]
    fetched: float  # time.monotonic()


class TokenVerifier:
    """Verifies tokens of the registered providers.

    Args:
        providers: registered audiences by issuer; an empty set accepts no token.
        http: fetches discovery documents and key sets; the caller closes it.
    """

    def __init__(self, *, providers: Mapping[str, frozenset[str]], http: httpx2.AsyncClient) -> None:
        self._providers = providers
        self._http = http
        self._key_sets: dict[str, _KeySet] = {}
        self._lock = asyncio.Lock()

    async def verify(self, unverified_token: str) -> WebIdentity:
        """Verify a token and return its identity.

        Raises:
            StsError: ``InvalidIdentityToken``, ``ExpiredTokenException`` or ``IDPCommunicationError``.
        """
        algorithm, key_id = _read_header(unverified_token)
        issuer = _read_issuer(unverified_token)
        audiences = self._providers.get(issuer)
        if audiences is None and issuer not in BUILT_IN:
            raise _invalid(f"No OpenIDConnect provider found in your account for {issuer}")
        key = await self._key(issuer, key_id, algorithm)
        claims = _decode(unverified_token, key, algorithm=algorithm, issuer=issuer)
        if not 1 <= len(claims["sub"]) <= MAX_SUBJECT:
            raise _invalid(f"The subject of the ID Token provided must have 1 to {MAX_SUBJECT} characters")
        audience, original = _audience(claims, audiences)
        return WebIdentity(
            issuer=issuer,
            subject=claims["sub"],
            audience=audience,
            original_audiences=original,
            session=read_session_claims(claims),
        )

    async def _key(self, issuer: str, key_id: str, algorithm: str) -> jwt.PyJWK:
        known = self._key_sets.get(issuer)
        fresh = known is not None and time.monotonic() - known.fetched < JWKS_LIFETIME
        if known is None or not fresh or key_id not in known.keys:
            known = await self._refresh(issuer, replacing=known)
        document = known.keys.get(key_id)
        if document is None or not _fits(document, algorithm):
            raise _invalid("Couldn't retrieve verification key from your identity provider")
        try:
            return jwt.PyJWK.from_dict(dict(document), algorithm=algorithm)
        except (jwt.PyJWTError, ValueError, TypeError):
            raise _invalid("Couldn't retrieve verification key from your identity provider") from None

    async def _refresh(self, issuer: str, *, replacing: _KeySet | None) -> _KeySet:
        async with self._lock:
            current = self._key_sets.get(issuer)
            if current is not None and current is not replacing:
                return current  # another call fetched it while this one waited for the lock
            discovery = await self._get_json(f"{issuer.removesuffix('/')}/.well-known/openid-configuration")
            jwks_uri = discovery.get("jwks_uri")
            # OpenID Connect Discovery section 4.3: the issuer must match exactly.
            if discovery.get("issuer") != issuer or not isinstance(jwks_uri, str):
                raise _invalid("The OpenID Connect provider's discovery document is not acceptable")
            keys = (await self._get_json(jwks_uri)).get("keys")
            if not isinstance(keys, list):
                raise _invalid("Couldn't retrieve verification key from your identity provider")
            by_id = {
                key["kid"]: key for key in keys if isinstance(key, dict) and isinstance(key.get("kid"), str)
            }
            fetched = _KeySet(keys=by_id, fetched=time.monotonic())
            self._key_sets[issuer] = fetched
            return fetched

    async def _get_json(self, url: str) -> Mapping[str, Any]:
        try:
            response = await self._http.get(url)
        except httpx2.HTTPError:
            raise _unreachable() from None
        if response.status_code != httpx2.codes.OK:
            raise _unreachable()
        try:
            document = response.json() if len(response.content) <= JWKS_LIMIT else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise _invalid("Couldn't retrieve verification key from your identity provider")
        return document


def _invalid(message: str) -> StsError:
    return StsError("InvalidIdentityToken", message)


def _unreachable() -> StsError:
    message = "An error occurred when calling the identity provider to verify the incoming identity token"
    return StsError("IDPCommunicationError", message)


def _read_header(unverified_token: str) -> tuple[str, str]:
    try:
        header = jwt.get_unverified_header(unverified_token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _invalid("The ID Token provided is not a valid JWT.") from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise _invalid("The ID Token provided is not signed with a supported algorithm")
    if not isinstance(key_id, str):
        raise _invalid("The ID Token provided names no key")
    return str(algorithm), key_id


def _read_issuer(unverified_token: str) -> str:
    try:
        claims = jwt.decode(unverified_token, options=_READ_ISSUER)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _invalid("The ID Token provided is not a valid JWT.") from None
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise _invalid("Missing a required claim: iss")
    return issuer


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Return whether the key was published for the algorithm (RFC 8725 section 3.1)."""
    if key.get("use") not in (None, "sig") or key.get("alg") not in (None, algorithm):
        return False
    if algorithm.startswith("RS"):
        return key.get("kty") == "RSA"
    return key.get("kty") == "EC" and key.get("crv") == _CURVES[algorithm]


def _audience(claims: Mapping[str, Any], client_ids: frozenset[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return the client id that the token is for, and the original audiences of a token with ``azp``.

    ``client_ids``: those of the IAM OIDC provider; None for a provider that AWS knows by itself.
    """
    stated = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if not all(isinstance(value, str) for value in stated):
        raise _invalid("Incorrect token audience")
    authorized = claims.get("azp")
    if authorized is None:
        compared, original = stated, ()
    else:
        compared, original = [authorized], tuple(stated)
    for value in compared:
        if isinstance(value, str) and (client_ids is None or value in client_ids):
            return value, original
    raise _invalid("Incorrect token audience")


def _decode(unverified_token: str, key: jwt.PyJWK, *, algorithm: str, issuer: str) -> Mapping[str, Any]:
    try:
        claims = jwt.decode(
            unverified_token,
            key,
            algorithms=[algorithm],
            options=_VERIFY,
            issuer=issuer,
            leeway=0,
        )
    except jwt.ExpiredSignatureError:
        raise StsError(
            "ExpiredTokenException", "Token expired: the current time is after its expiration"
        ) from None
    except jwt.MissingRequiredClaimError as error:
        raise _invalid(f"Missing a required claim: {error.claim}") from None
    except (jwt.PyJWTError, ValueError, TypeError):
        raise _invalid("The ID Token provided could not be verified") from None
    # STS requires integer timestamps; PyJWT also accepts floats and numeric strings.
    if any(type(claims[name]) is not int for name in ("exp", "iat", "nbf") if name in claims):
        raise _invalid("Token timestamps must be integers")
    return claims
