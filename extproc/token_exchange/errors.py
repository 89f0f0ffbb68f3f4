"""Denials for the errors of token endpoints (RFC 6749 5.2, RFC 8693 2.2.2, OpenID Connect Core 1.0 3.1.2.6).

Error codes come from a closed list before they reach logs and metrics. Descriptions are matched and never
passed on: some quote the token, or tell an attacker about the user.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from extproc import strictjson
from extproc.errors import Denied, Reason

_INTERACTION, _CONSENT = Reason.TOKEN_EXCHANGE_INTERACTION, Reason.TOKEN_EXCHANGE_CONSENT
_REFUSED, _DENIED = Reason.TOKEN_EXCHANGE_REFUSED, Reason.TOKEN_EXCHANGE_DENIED
_MISCONFIGURED, _UNAVAILABLE = Reason.TOKEN_EXCHANGE_MISCONFIGURED, Reason.TOKEN_EXCHANGE_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What an error code means. ``advice``: the operator's next step."""

    reason: Reason
    advice: str = ""


_MEANINGS = {
    "invalid_grant": _Meaning(
        _REFUSED, "the provider takes the user's token for expired, revoked or foreign"
    ),
    "invalid_token": _Meaning(
        _REFUSED, "the provider takes the user's token for expired, revoked or foreign"
    ),
    "interaction_required": _Meaning(_INTERACTION, "the user must log in again, by a policy of the provider"),
    "login_required": _Meaning(_INTERACTION, "the user must log in again"),
    "account_selection_required": _Meaning(_INTERACTION, "the user must log in again"),
    "insufficient_user_authentication": _Meaning(_INTERACTION, "the user must log in again, more strongly"),
    "unmet_authentication_requirements": _Meaning(_INTERACTION, "the user must log in again, more strongly"),
    "mfa_required": _Meaning(_INTERACTION, "the user must log in with a second factor"),
    "consent_required": _Meaning(
        _CONSENT, "the user or an administrator must consent to the client's scopes"
    ),
    "access_denied": _Meaning(
        _DENIED, "a policy of the provider refuses the user, or this client the exchange"
    ),
    "invalid_client": _Meaning(
        _MISCONFIGURED, "compare client_id, and the secret, key or assertion, with the client at the provider"
    ),
    "unauthorized_client": _Meaning(_MISCONFIGURED, "allow this grant to the client at the provider"),
    "unsupported_grant_type": _Meaning(
        _MISCONFIGURED, "the provider does not know `grant`; enable or change it"
    ),
    "unsupported_token_type": _Meaning(_MISCONFIGURED, "change subject_token_type or requested_token_type"),
    "invalid_target": _Meaning(_MISCONFIGURED, "the provider refuses `audience` or `resource`"),
    "invalid_scope": _Meaning(_MISCONFIGURED, "the provider refuses `scope`"),
    "invalid_resource": _Meaning(_MISCONFIGURED, "the provider refuses `scope` or `resource`"),
    "invalid_request": _Meaning(_MISCONFIGURED, "compare the parameters with what the provider expects"),
    "temporarily_unavailable": _Meaning(_UNAVAILABLE),
    "server_error": _Meaning(_UNAVAILABLE),
    "slow_down": _Meaning(_UNAVAILABLE),
    "too_many_requests": _Meaning(_UNAVAILABLE),
}
"""The meanings of error codes: of the specifications, Auth0, Entra ID, Keycloak, Okta and Ping."""

_SUBERRORS = {
    "consent_required": _MEANINGS["consent_required"],
    "basic_action": _MEANINGS["interaction_required"],
    "additional_action": _MEANINGS["interaction_required"],
    "user_password_expired": _MEANINGS["interaction_required"],
}
"""Entra ID's ``suberror`` says more than its ``error``
(https://learn.microsoft.com/entra/msal/dotnet/advanced/exceptions/msal-error-handling)."""

# Keycloak and Auth0 call a bad subject token an invalid request.
_SUBJECT_TOKEN = re.compile(r"invalid (?:subject[ _])?token(?![ _]?type)", re.IGNORECASE)

_OTHER = "other"
UNUSABLE_TOKEN = "unusable_token"  # noqa: S105 - a code
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500
_LONGEST_RETRY_AFTER = 300  # seconds: a provider must not send clients away for long
_SECONDS = re.compile(r"[0-9]{1,10}", re.ASCII)

TOKEN_EXCHANGE_OUTCOMES = (
    ("ok", ""),
    (_UNAVAILABLE.value, ""),
    (_UNAVAILABLE.value, _OTHER),
    (_MISCONFIGURED.value, _OTHER),
    (_MISCONFIGURED.value, UNUSABLE_TOKEN),
    (_REFUSED.value, "invalid_request"),
    (_CONSENT.value, "invalid_grant"),
    (_INTERACTION.value, "invalid_grant"),
    *sorted((meaning.reason.value, code) for code, meaning in _MEANINGS.items()),
)
"""Every usual pair of outcome and error code; no code if the provider did not answer."""


def denied(status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Denied:
    """Return the denial for an answer that is not a success."""
    try:
        members: Mapping[str, object] = strictjson.loads_object(body)
    except strictjson.AmbiguousJSONError:
        members = {}
    error, suberror = members.get("error"), members.get("suberror")
    code = error if isinstance(error, str) and error in _MEANINGS else _OTHER
    detail = f"the token endpoint answered {status} {code if error else 'without an error code'}"
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERRORS:
        known = code if (_UNAVAILABLE.value, code) in TOKEN_EXCHANGE_OUTCOMES else _OTHER
        return Denied(_UNAVAILABLE, detail, code=known, retry_after=_retry_after(headers))
    meaning = _MEANINGS.get(
        code, _Meaning(_MISCONFIGURED, "is token_endpoint the provider's token endpoint?")
    )
    if code == "invalid_request" and _SUBJECT_TOKEN.search(str(members.get("error_description"))):
        meaning = _MEANINGS["invalid_grant"]
    if isinstance(suberror, str):
        meaning = _SUBERRORS.get(suberror, meaning)
    return Denied(meaning.reason, f"{detail}; {meaning.advice}" if meaning.advice else detail, code=code)


def _retry_after(headers: Iterable[tuple[str, str]]) -> int | None:
    """Return the seconds of ``Retry-After`` (RFC 9110 10.2.3), limited; None without it, or for a date."""
    for name, value in headers:
        if name.lower() == "retry-after" and _SECONDS.fullmatch(value):
            return min(int(value), _LONGEST_RETRY_AFTER) or None
    return None
