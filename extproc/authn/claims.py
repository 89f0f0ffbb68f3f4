"""Checks of signed claims: each returns the value it read, or raises ``Denied``."""

from collections.abc import Mapping
from typing import Any

from extproc.authn.audience import Audiences
from extproc.errors import Denied, Reason
from extproc.scopes import RequiredScopes, granted_scopes, missing_text

MAX_SUBJECT_LENGTH = 255  # STS's limit for SubjectFromWebIdentityToken
MAX_TIMESTAMP = 2**40  # some 35,000 years; keeps arithmetic on times exact

_PROVIDER = "STS takes no other, so the provider has to be corrected"
_ASK = "clients must ask the provider for a token of this resource"
_REMARKS = {"azp": "; STS compares azp: list the client in required_claims, or see docs/idp for another way"}
"""Next steps for claims that decide which ways to STS a token has."""

ClaimValue = str | int | bool
"""A value that can be required of a claim."""


def check_times(claims: Mapping[str, Any], *, now: float, leeway: float) -> float:
    """Check that ``exp`` is in the future, and ``nbf`` and ``iat`` are not; return ``exp`` (RFC 7519 4.1)."""
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


def check_timestamps(claims: Mapping[str, Any]) -> None:
    """Check the form of the timestamps that are present, whatever the time."""
    for name in ("exp", "nbf", "iat"):
        _timestamp(claims, name)


def _timestamp(claims: Mapping[str, Any], name: str) -> int | None:
    """Return an integer NumericDate; STS accepts no others (RFC 7519 2 would allow fractions)."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is not int or not 0 <= value <= MAX_TIMESTAMP:
        raise Denied(Reason.CLAIM_INVALID, f"{name} is not an integer timestamp; {_PROVIDER}")
    return value


def check_audience(claims: Mapping[str, Any], accepted: Audiences) -> None:
    """Check that ``aud`` is a string or a list of strings, one of them accepted (RFC 7519 4.1.3)."""
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(entry, str) for entry in audiences):
        raise Denied(Reason.AUDIENCE_WRONG, f"aud is missing or not a string, which STS refuses too; {_ASK}")
    if not audiences:
        raise Denied(Reason.AUDIENCE_WRONG, f"aud is an empty list, which STS refuses too; {_ASK}")
    if not any(entry in accepted for entry in audiences):
        raise Denied(
            Reason.AUDIENCE_WRONG,
            f"aud names none of the issuer's audiences; {_ASK}, or audiences must have the token's aud",
        )


def check_subject(claims: Mapping[str, Any]) -> str:
    """Return ``sub``, a string that STS could return as the subject."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        raise Denied(Reason.CLAIM_INVALID, f"sub is not a string of 1 to 255 characters; {_PROVIDER}")
    return subject


def check_strings(claims: Mapping[str, Any]) -> None:
    """Check that no string, member names included, has the character U+0000.

    Some programs end a string there, and would read "admin" where rules see another name.
    """
    level: list[Any] = [claims]
    while level:
        below: list[Any] = []
        for node in level:
            if isinstance(node, Mapping):
                below += node
                below += node.values()
            elif isinstance(node, list):
                below += node
            elif isinstance(node, str) and "\0" in node:
                raise Denied(Reason.CLAIMS_INVALID, "a string has the character U+0000")
        level = below


def check_required_claims(claims: Mapping[str, Any], required: Mapping[str, tuple[ClaimValue, ...]]) -> None:
    """Check that each required claim has one of its values, or is a list with one of them.

    Types must match: 1, true and "1" are three values.
    """
    for name, accepted in required.items():
        if name not in claims:
            raise Denied(Reason.CLAIM_REQUIRED, f"claim {name} is missing")
        present = claims[name] if isinstance(claims[name], list) else [claims[name]]
        if not any(
            type(value) is type(wanted) and value == wanted for value in present for wanted in accepted
        ):
            raise Denied(Reason.CLAIM_REQUIRED, f"claim {name} has no required value{_REMARKS.get(name, '')}")


def check_scopes(claims: Mapping[str, Any], required: RequiredScopes) -> None:
    """Check that all required scopes are granted; the denial names all that the client has to request."""
    if not required:
        return
    granted = granted_scopes(claims)
    missing = required.missing(granted)
    if missing:
        raise Denied(
            Reason.SCOPE_MISSING,
            f"without scope {' '.join(missing)}",
            scopes=required.to_ask_for(granted, missing),
            client_text=missing_text(missing),
        )
