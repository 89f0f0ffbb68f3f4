"""Denials for the errors of STS and of similar services (MinIO, Ceph, SeaweedFS).

Messages are matched but never passed on, since some quote claims of the token.
"""

import re
from dataclasses import dataclass

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
    # MinIO's code for every refusal; only the message shows the cause.
    "InvalidParameterValue": Reason.STS_ACCESS_DENIED,
}
_BY_MESSAGE = (
    (("expired",), Reason.STS_TOKEN_EXPIRED),
    (("dial tcp", "connection refused", "no such host", "timeout"), Reason.STS_PROVIDER_UNREACHABLE),
    (("credentials will not be generated", "does not exist"), Reason.STS_ACCESS_DENIED),
    (("token", "jwt", "kid ", "signature", "signing method", "verification"), Reason.STS_TOKEN_REFUSED),
)
"""Phrases in lower case from messages of MinIO and golang-jwt; the first that occurs decides."""


@dataclass(frozen=True, slots=True)
class _Hint:
    """Advice for the operator about a message of STS.

    Attributes:
        reason: replaces the reason of the error code, if that would mislead.
    """

    phrase: str
    advice: str
    reason: Reason | None = None


_MISCONFIGURED = Reason.STS_MISCONFIGURED
"""The token was verified here, so STS refuses it because of IAM's configuration. Logging in again would
only bring another token that is refused."""

_HINTS = (
    _Hint(
        "No OpenIDConnect provider found",
        "create the IAM OIDC provider of this issuer in the account, as `extproc aws` prints it",
        _MISCONFIGURED,
    ),
    _Hint(
        "Incorrect token audience",
        "add the token's azp, or its aud if it has none, to the client ids of the IAM OIDC provider",
        _MISCONFIGURED,
    ),
    _Hint(
        "HTTPS certificate",
        "the certificate of the issuer's HTTPS host does not fit the IAM OIDC provider",
        _MISCONFIGURED,
    ),
    _Hint(
        "Couldn't retrieve verification key",
        "IAM could not fetch the issuer's keys; is its JWKS public?",
        Reason.STS_PROVIDER_UNREACHABLE,
    ),
    _Hint("discovery document", "IAM does not accept the issuer's discovery document", _MISCONFIGURED),
    _Hint("Missing a required claim", "the issuer's tokens lack a claim that STS requires", _MISCONFIGURED),
    _Hint("not a valid JWT", "STS takes no tokens of this form; is sts_token_header needed?", _MISCONFIGURED),
    _Hint("supported algorithm", "STS does not take the algorithm of the issuer's tokens", _MISCONFIGURED),
    _Hint(
        "sts:TagSession",
        "the token carries session tags: allow sts:TagSession in the trust policy",
        _MISCONFIGURED,
    ),
    _Hint(
        "sts:SetSourceIdentity",
        "the token sets a source identity: allow sts:SetSourceIdentity",
        _MISCONFIGURED,
    ),
    _Hint(
        "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        "no such role, or its trust policy does not allow this token; `extproc aws` prints one that does",
    ),
    _Hint("MaxSessionDuration", "session_duration exceeds the role's maximum session duration"),
    _Hint(
        "credentials will not be generated", "the token's policy claim, or the role, names no known policy"
    ),
    _Hint(
        "must match configured OpenID Client ID",
        "the token's aud and azp are not the client id of this STS",
        _MISCONFIGURED,
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
"""The reasons that an unknown code can have."""

_NOT_IN_A_CODE = re.compile(r"[^A-Za-z0-9._:-]", re.ASCII)
_MAX_CODE = 64
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500
_REFUSED = (401, 403)


def known_errors() -> list[tuple[str, str]]:
    """Return every pair of reason and code that ``denied`` returns."""
    codes = (*_REASONS, _OTHER)
    found = {(reason, code) for code, reason in _REASONS.items()}
    found |= {(reason, "InvalidParameterValue") for _, reason in _BY_MESSAGE}
    found |= {(hint.reason, code) for hint in _HINTS for code in codes if hint.reason}
    found |= {(reason, _OTHER) for reason in _BY_STATUS}
    return sorted((reason.value, code) for reason, code in found)


def denied(status: int, code: str, message: str) -> Denied:
    """Return the denial for an error: its HTTP status, code and message."""
    detail = f"STS answered {status} {_printable(code) or 'without an error code'}"
    reason = _REASONS.get(code) or _by_status(status, code)
    if code == "InvalidParameterValue":
        reason = _by_message(message)
    known = code if code in _REASONS else _OTHER  # a label of metrics: one of a closed list
    for hint in _HINTS:
        if hint.phrase in message:
            return Denied(hint.reason or reason, f"{detail}; {hint.advice}", code=known)
    return Denied(reason, detail, code=known)


def _printable(code: str) -> str:
    """Return an error code in a form that is safe to log: the server can send any string."""
    return _NOT_IN_A_CODE.sub("?", code[:_MAX_CODE])


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
