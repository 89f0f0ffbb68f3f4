"""What an STS's error means: AWS's codes, and those of services that resemble it (MinIO, Ceph, SeaweedFS).

Messages are read and never passed on, since some quote claims of the token.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from extproc.errors import Denied, Reason

_REASONS = {
    "ExpiredTokenException": Reason.STS_TOKEN_EXPIRED,
    "ExpiredToken": Reason.STS_TOKEN_EXPIRED,  # MinIO
    "InvalidIdentityToken": Reason.STS_TOKEN_REFUSED,
    "InvalidIdentityTokenException": Reason.STS_TOKEN_REFUSED,
    "InvalidToken": Reason.STS_TOKEN_REFUSED,
    "IDPRejectedClaim": Reason.STS_TOKEN_REFUSED,
    "IDPRejectedClaimException": Reason.STS_TOKEN_REFUSED,
    "IDPCommunicationError": Reason.STS_PROVIDER_UNREACHABLE,
    "IDPCommunicationErrorException": Reason.STS_PROVIDER_UNREACHABLE,
    "AccessDenied": Reason.STS_ACCESS_DENIED,
    "AccessDeniedException": Reason.STS_ACCESS_DENIED,
    "NoSuchEntity": Reason.STS_ACCESS_DENIED,  # Ceph: no such role, for which AWS says AccessDenied
    "MalformedPolicyDocument": Reason.STS_MISCONFIGURED,
    "PackedPolicyTooLarge": Reason.STS_MISCONFIGURED,
    "RegionDisabledException": Reason.STS_MISCONFIGURED,
    "ValidationError": Reason.STS_MISCONFIGURED,
    "Throttling": Reason.STS_THROTTLED,
    "ThrottlingException": Reason.STS_THROTTLED,
    "RequestLimitExceeded": Reason.STS_THROTTLED,
    "SlowDown": Reason.STS_THROTTLED,
    # MinIO's code for every refusal, of which only the message tells what it is about.
    "InvalidParameterValue": Reason.STS_ACCESS_DENIED,
}
_BY_MESSAGE = (
    (("expired",), Reason.STS_TOKEN_EXPIRED),
    (("dial tcp", "connection refused", "no such host", "timeout"), Reason.STS_PROVIDER_UNREACHABLE),
    (("credentials will not be generated", "does not exist"), Reason.STS_ACCESS_DENIED),
    (("token", "jwt", "kid ", "signature", "signing method", "verification"), Reason.STS_TOKEN_REFUSED),
)
"""Phrases in lower case; the first that occurs decides. From MinIO's and golang-jwt's messages."""


@dataclass(frozen=True, slots=True)
class _Hint:
    """What an operator should do about a message of STS's; ``reason`` where the code alone misleads."""

    phrase: str
    advice: str
    reason: Reason | None = None


_OPERATORS = Reason.STS_MISCONFIGURED
"""A token that was verified before STS saw it is refused for what IAM is configured to take: whoever logs
in again gets another one of its kind, which is refused as well."""

_HINTS = (
    _Hint(
        "No OpenIDConnect provider found",
        "create the IAM OIDC provider of this issuer in the account",
        _OPERATORS,
    ),
    _Hint("Incorrect token audience", "add the token's audience to the IAM OIDC provider", _OPERATORS),
    _Hint(
        "HTTPS certificate",
        "the certificate of the issuer's HTTPS host does not fit the IAM OIDC provider",
        _OPERATORS,
    ),
    _Hint(
        "Couldn't retrieve verification key",
        "IAM could not fetch the issuer's keys; is its JWKS public?",
        Reason.STS_PROVIDER_UNREACHABLE,
    ),
    _Hint("discovery document", "IAM does not accept the issuer's discovery document", _OPERATORS),
    _Hint("Missing a required claim", "the issuer's tokens lack a claim that STS requires", _OPERATORS),
    _Hint("not a valid JWT", "STS takes no tokens of this form; is sts_token_header needed?", _OPERATORS),
    _Hint("supported algorithm", "STS does not take the algorithm of the issuer's tokens", _OPERATORS),
    _Hint(
        "sts:TagSession",
        "the token carries session tags: allow sts:TagSession in the trust policy",
        _OPERATORS,
    ),
    _Hint(
        "sts:SetSourceIdentity",
        "the token sets a source identity: allow sts:SetSourceIdentity",
        _OPERATORS,
    ),
    _Hint("MaxSessionDuration", "session_duration exceeds the role's maximum session duration"),
    _Hint(
        "credentials will not be generated", "the token's policy claim, or the role, names no known policy"
    ),
    _Hint(
        "must match configured OpenID Client ID",
        "the token's aud and azp are not the client id of this STS",
        _OPERATORS,
    ),
    _Hint("does not exist", "this STS does not know the role of role_arn"),
)

_OTHER = "other"
_BY_STATUS = (
    Reason.STS_THROTTLED,
    Reason.STS_UNAVAILABLE,
    Reason.STS_ACCESS_DENIED,
    Reason.STS_MISCONFIGURED,
)
"""What an unknown code can mean."""

_NOT_OF_A_CODE = re.compile(r"[^A-Za-z0-9._:-]", re.ASCII)
_MAX_CODE = 64
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500
_REFUSED = (401, 403)


def known_errors() -> list[tuple[str, str]]:
    """Return every reason and code of a denial that ``denied`` makes."""
    codes = (*_REASONS, _OTHER)
    found = {(reason, code) for code, reason in _REASONS.items()}
    found |= {(reason, "InvalidParameterValue") for _, reason in _BY_MESSAGE}
    found |= {(hint.reason, code) for hint in _HINTS for code in codes if hint.reason}
    found |= {(reason, _OTHER) for reason in _BY_STATUS}
    return sorted((reason.value, code) for reason, code in found)


def denied(answer: Mapping[str, Any]) -> Denied:
    """Return the denial for an error as botocore parsed it."""
    # Ceph sends S3's form, whose root is the error itself.
    told = answer.get("Error") or answer
    code, message = str(told.get("Code") or ""), str(told.get("Message") or "")
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    detail = f"STS answered {status} {_printable(code) or 'without an error code'}"
    reason = _REASONS.get(code) or _by_status(status, code)
    if code == "InvalidParameterValue":
        reason = _by_message(message)
    known = code if code in _REASONS else _OTHER  # of metrics: a closed list
    for hint in _HINTS:
        if hint.phrase in message:
            return Denied(hint.reason or reason, f"{detail}; {hint.advice}", code=known)
    return Denied(reason, detail, code=known)


def _printable(code: str) -> str:
    """Return an error code as it may be logged: whoever answers chooses it."""
    return _NOT_OF_A_CODE.sub("?", code[:_MAX_CODE])


def _by_status(status: int, code: str) -> Reason:
    if status == _TOO_MANY_REQUESTS:
        return Reason.STS_THROTTLED
    if status >= _SERVER_ERRORS or not code:
        return Reason.STS_UNAVAILABLE
    return Reason.STS_ACCESS_DENIED if status in _REFUSED else Reason.STS_MISCONFIGURED


def _by_message(message: str) -> Reason:
    lower = message.lower()
    for phrases, reason in _BY_MESSAGE:
        if any(phrase in lower for phrase in phrases):
            return reason
    return _REASONS["InvalidParameterValue"]
