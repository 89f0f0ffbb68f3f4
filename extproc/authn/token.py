"""Parsing of a token: a compact JWS and its two JSON objects, all still unverified."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extproc import strictjson
from extproc.errors import Denied, Reason

MAX_TOKEN_BYTES = 20_000  # STS's limit for WebIdentityToken
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """Limits on a token, which bound the cost of parsing it and of evaluating rules over its claims.

    Attributes:
        size: bytes.
        nesting: levels of objects and lists.
        values: members and elements of all objects and lists together.
    """

    size: int = MAX_TOKEN_BYTES
    nesting: int = 16
    values: int = 2000

    def __post_init__(self) -> None:
        """Refuse a size that STS does not accept."""
        if not 0 < self.size <= MAX_TOKEN_BYTES:
            raise ValueError(f"a token has 1 to {MAX_TOKEN_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A parsed token. ``signing_input``: the bytes that the signature covers (RFC 7515 5.1)."""

    header: Mapping[str, Any] = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse(unverified_token: str, limits: TokenLimits) -> UnverifiedToken:
    """Parse a compact JWS (RFC 7515 3.1).

    Raises:
        Denied: ``TOKEN_MALFORMED``.
    """
    if len(unverified_token) > limits.size or not _COMPACT.fullmatch(unverified_token):
        raise Denied(
            Reason.TOKEN_MALFORMED,
            f"not a compact JWS of at most {limits.size} bytes; opaque and encrypted tokens cannot be "
            "verified: clients must ask the provider for a token of this resource",
        )
    signing_input, _, signature = unverified_token.encode("ascii").rpartition(b".")
    header, _, claims = signing_input.partition(b".")
    try:
        return UnverifiedToken(
            header=strictjson.loads_object(_decode(header), max_depth=limits.nesting),
            claims=strictjson.loads_object(
                _decode(claims), max_depth=limits.nesting, max_values=limits.values
            ),
            signing_input=signing_input,
            signature=_decode(signature),
        )
    except strictjson.AmbiguousJSONError as error:
        raise Denied(Reason.TOKEN_MALFORMED, str(error)) from None


def claims_of(verified_token: str) -> dict[str, Any]:
    """Return the claims of a token that ``parse`` has accepted before: the same, without its checks."""
    document = _bytes_of(verified_token.encode("ascii").split(b".", 2)[1])
    claims: dict[str, Any] = json.loads(document.decode("utf-8"))
    return claims


def check_form(claims: Mapping[str, Any], limits: TokenLimits) -> None:
    """Check claims that did not come in a token against the limits that ``parse`` applies.

    Raises:
        Denied: ``TOKEN_MALFORMED``.
    """
    try:
        document = json.dumps(claims).encode()
        strictjson.loads_object(document, max_depth=limits.nesting, max_values=limits.values)
    except strictjson.AmbiguousJSONError as error:
        raise Denied(Reason.TOKEN_MALFORMED, str(error)) from None


def _bytes_of(segment: bytes) -> bytes:
    return base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))


def _decode(segment: bytes) -> bytes:
    """Decode base64url without padding, in its canonical form only (RFC 4648 3.5).

    Unused trailing bits must be zero. Otherwise one signature would have several spellings, and one token
    several digests, each a session of its own.
    """
    try:
        raw = _bytes_of(segment)
    except ValueError:
        raise Denied(Reason.TOKEN_MALFORMED, "not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != segment:
        raise Denied(Reason.TOKEN_MALFORMED, "not canonical base64url")
    return raw
