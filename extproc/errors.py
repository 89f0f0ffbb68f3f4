"""The closed list of reasons for which a request is denied.

Each package returns the next trusted value or raises ``Denied``, which becomes a response in one place.
Clients read the constant text of a reason. The exact cause (``Denied.detail``) is for operators only and
never contains a secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

NO_DATA: Mapping[str, object] = MappingProxyType({})


class Reason(StrEnum):
    """The reasons of denials. Their values are stable: logs, metrics and alerts use them."""

    # The request.
    ORIGIN_REFUSED = "origin_refused"
    TOKEN_MISSING = "token_missing"  # noqa: S105 - a reason, not a secret
    AUTHORIZATION_MALFORMED = "authorization_malformed"
    SIGNATURE_IN_QUERY = "signature_in_query"
    TOKEN_IN_URL = "token_in_url"  # noqa: S105
    TOO_MANY_HEADERS = "too_many_headers"
    REQUEST_AMBIGUOUS = "request_ambiguous"
    HEADER_REFUSED = "header_refused"
    BODY_CODING_REFUSED = "body_coding_refused"
    BODY_DIFFERS = "body_differs"
    UPGRADE_REFUSED = "upgrade_refused"
    TARGET_UNKNOWN = "target_unknown"
    BODY_TOO_LARGE = "body_too_large"
    MCP_NOT_JSON = "mcp_not_json"
    MCP_MALFORMED = "mcp_malformed"
    MCP_PARAMS_INVALID = "mcp_params_invalid"
    MCP_HEADERS_DIFFER = "mcp_headers_differ"
    MCP_VERSION_UNSUPPORTED = "mcp_version_unsupported"
    # The token.
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105
    ISSUER_UNKNOWN = "issuer_unknown"
    ALGORITHM_REFUSED = "algorithm_refused"
    KEY_UNKNOWN = "key_unknown"
    SIGNATURE_INVALID = "signature_invalid"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"  # noqa: S105
    AUDIENCE_WRONG = "audience_wrong"
    CLAIM_INVALID = "claim_invalid"
    CLAIMS_INVALID = "claims_invalid"
    CLAIM_REQUIRED = "claim_required"
    SCOPE_MISSING = "scope_missing"
    ENVOY_UNVERIFIED = "envoy_unverified"
    EXCHANGE_TOKEN_MISSING = "exchange_token_missing"  # noqa: S105
    EXCHANGE_TOKEN_FOREIGN = "exchange_token_foreign"  # noqa: S105
    KEYS_UNAVAILABLE = "keys_unavailable"
    REVOKED = "revoked"
    TOKEN_REVOKED = "token_revoked"  # noqa: S105
    # The policy.
    CLAIMS_SHAPE = "claims_shape"
    NO_ROLE = "no_role"
    POLICY_ERROR = "policy_error"
    POLICY_DENIED = "policy_denied"
    POLICY_CONFLICT = "policy_conflict"
    POLICY_BUSY = "policy_busy"
    SESSION_NAME_INVALID = "session_name_invalid"
    # The exchange.
    STS_ACCESS_DENIED = "sts_access_denied"
    STS_TOKEN_REFUSED = "sts_token_refused"  # noqa: S105
    STS_TOKEN_EXPIRED = "sts_token_expired"  # noqa: S105
    STS_UNAVAILABLE = "sts_unavailable"
    STS_THROTTLED = "sts_throttled"
    STS_BUSY = "sts_busy"
    USER_BUSY = "user_busy"
    STS_PROVIDER_UNREACHABLE = "sts_provider_unreachable"
    STS_MISCONFIGURED = "sts_misconfigured"
    # The exchange at the identity provider before it.
    TOKEN_EXCHANGE_REFUSED = "token_exchange_refused"  # noqa: S105
    TOKEN_EXCHANGE_INTERACTION = "token_exchange_interaction"  # noqa: S105
    TOKEN_EXCHANGE_CONSENT = "token_exchange_consent"  # noqa: S105
    TOKEN_EXCHANGE_DENIED = "token_exchange_denied"  # noqa: S105
    TOKEN_EXCHANGE_MISCONFIGURED = "token_exchange_misconfigured"  # noqa: S105
    TOKEN_EXCHANGE_UNAVAILABLE = "token_exchange_unavailable"  # noqa: S105
    TOKEN_EXCHANGE_BUSY = "token_exchange_busy"  # noqa: S105
    # The target.
    TARGET_BUSY = "target_busy"
    USER_STREAMS = "user_streams"
    RATE_LIMITED = "rate_limited"
    TOOLS_LIST_UNREADABLE = "tools_list_unreadable"
    # The server and Envoy.
    CONFIGURATION_CHANGED = "configuration_changed"
    BODY_MODE_WRONG = "body_mode_wrong"
    PROTOCOL_VIOLATION = "protocol_violation"
    INTERNAL = "internal"

    @property
    def outcome(self) -> "Outcome":
        """Return the response to the client."""
        return _OUTCOMES[self]


_KEEP_THEIR_STATUS = (400, 401)
"""MCP requires 400 for invalid messages, and clients log in after a 401."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A denial as the client sees it.

    Attributes:
        status: the HTTP status.
        error: the OAuth error code (RFC 6750 3.1); None for none.
        text: the constant text.
        retry_after: seconds for the ``Retry-After`` header.
        rpc_code: the code of a JSON-RPC error, where MCP defines one; the response is then such an error for
            every client.
        ask: whether the text says where to ask for help: nothing that the user can do helps, and a new
            login does not either.
    """

    status: int
    error: str | None
    text: str
    retry_after: int | None = None
    rpc_code: int | None = None
    ask: bool = False

    @property
    def allows_200(self) -> bool:
        """Return whether the response to an MCP request may have HTTP status 200, if that is configured.

        It may not where the status leads to a login or to more scopes.
        """
        return self.status not in _KEEP_THEIR_STATUS and self.error != "insufficient_scope"


class Denied(Exception):  # noqa: N818 - the field's word for it; it is an outcome more than an error
    """The request is denied.

    Attributes:
        reason: why.
        detail: the exact cause, for operators only.
        scopes: for a missing scope, all scopes that the client must ask for.
        code: error code of the service that refused, from a closed list.
        client_text: text for the client instead of the reason's constant text. It may name a part of the
            request, but must not contain a value.
        message: the same in the operator's words; nothing is added to it.
        data: further members of a JSON-RPC error's ``data``.
        retry_after: seconds for ``Retry-After`` instead of the reason's; None for those.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        scopes: tuple[str, ...] = (),
        code: str = "",
        client_text: str = "",
        message: str = "",
        data: Mapping[str, object] = NO_DATA,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
        self.scopes = scopes
        self.code = code
        self.client_text = client_text
        self.message = message
        self.data = data
        self.retry_after = retry_after

    def anew(self) -> "Denied":
        """Return an equal denial that was never raised: raising a kept one again collects tracebacks."""
        return Denied(
            self.reason,
            self.detail,
            scopes=self.scopes,
            code=self.code,
            client_text=self.client_text,
            message=self.message,
            data=self.data,
            retry_after=self.retry_after,
        )


def _invalid_token(text: str = "The access token is not valid for this resource.") -> Outcome:
    return Outcome(401, "invalid_token", text)


_BAD_AUTHORIZATION = "Exactly one bearer token is expected in the authorization header."


def _access_denied(text: str) -> Outcome:
    return Outcome(403, "access_denied", text, ask=True)


def _unavailable(text: str, retry_after: int = 5) -> Outcome:
    return Outcome(503, "temporarily_unavailable", text, retry_after)


_OUR_FAULT = Outcome(500, "server_error", "The gateway could not process the request.", ask=True)
_NO_ROLE = _access_denied("Your account has no AWS role here for this request.")
_RULES_FAIL = _access_denied("The rules of this gateway cannot be applied to this request.")
_AWS_BUSY = _unavailable("AWS's token service (STS) is busy. Try again in a few seconds.")

_OUTCOMES = {
    Reason.ORIGIN_REFUSED: Outcome(403, "access_denied", "Requests from this origin are not accepted."),
    Reason.TOKEN_MISSING: Outcome(401, None, "A bearer token is required."),
    Reason.AUTHORIZATION_MALFORMED: Outcome(400, "invalid_request", _BAD_AUTHORIZATION),
    Reason.SIGNATURE_IN_QUERY: Outcome(400, "invalid_request", "SigV4 query parameters are not accepted."),
    Reason.TOKEN_IN_URL: Outcome(
        400, "invalid_request", "The access token belongs in the authorization header, never in the URL."
    ),
    Reason.TOO_MANY_HEADERS: Outcome(
        431, "invalid_request", "The request has too many or too large headers to be signed."
    ),
    Reason.REQUEST_AMBIGUOUS: Outcome(400, "invalid_request", "The request has more than one reading."),
    Reason.HEADER_REFUSED: Outcome(400, "invalid_request", "A header is not accepted for this target."),
    Reason.BODY_CODING_REFUSED: Outcome(
        400, "invalid_request", "The coding of the body is not accepted for this target."
    ),
    Reason.BODY_DIFFERS: Outcome(400, "invalid_request", "The body is not the one that the head announces."),
    Reason.UPGRADE_REFUSED: Outcome(400, "invalid_request", "Upgrades and CONNECT cannot be signed."),
    Reason.TARGET_UNKNOWN: Outcome(
        404, "invalid_request", "Nothing is served at this path. Check the URL of the MCP server."
    ),
    Reason.BODY_TOO_LARGE: Outcome(413, None, "The request body is too large."),
    Reason.MCP_NOT_JSON: Outcome(400, "invalid_request", "The body is not JSON.", rpc_code=-32700),
    Reason.MCP_MALFORMED: Outcome(
        400, "invalid_request", "The body is not one unambiguous JSON-RPC message.", rpc_code=-32600
    ),
    Reason.MCP_HEADERS_DIFFER: Outcome(
        400, "invalid_request", "The MCP headers differ from the body.", rpc_code=-32020
    ),
    Reason.MCP_PARAMS_INVALID: Outcome(
        400, "invalid_request", "The parameters of the MCP message are not valid.", rpc_code=-32602
    ),
    Reason.MCP_VERSION_UNSUPPORTED: Outcome(
        400, "invalid_request", "Unsupported protocol version.", rpc_code=-32022
    ),
    Reason.TOKEN_MALFORMED: _invalid_token("The access token is malformed."),
    Reason.ISSUER_UNKNOWN: _invalid_token(),
    Reason.ALGORITHM_REFUSED: _invalid_token(),
    Reason.KEY_UNKNOWN: _invalid_token(),
    Reason.SIGNATURE_INVALID: _invalid_token(),
    Reason.TOKEN_EXPIRED: _invalid_token("The access token has expired."),
    Reason.TOKEN_NOT_YET_VALID: _invalid_token("The access token is not valid yet."),
    Reason.AUDIENCE_WRONG: _invalid_token(),
    Reason.CLAIM_INVALID: _invalid_token(),
    Reason.CLAIMS_INVALID: _invalid_token(),
    Reason.CLAIM_REQUIRED: _invalid_token(),
    Reason.SCOPE_MISSING: Outcome(403, "insufficient_scope", "The access token lacks a required scope."),
    Reason.ENVOY_UNVERIFIED: _invalid_token(),
    Reason.EXCHANGE_TOKEN_MISSING: _invalid_token("The token to be exchanged is missing."),
    Reason.EXCHANGE_TOKEN_FOREIGN: _invalid_token("The token to be exchanged belongs to another user."),
    Reason.KEYS_UNAVAILABLE: _unavailable(
        "The identity provider does not answer the gateway. Try again in a few seconds."
    ),
    # Another login would give another token of the same user, which is refused as well.
    Reason.REVOKED: _access_denied("Your access here has been revoked for now."),
    Reason.TOKEN_REVOKED: _invalid_token("The access token has been revoked."),
    Reason.CLAIMS_SHAPE: _NO_ROLE,
    Reason.NO_ROLE: _NO_ROLE,
    Reason.POLICY_ERROR: _RULES_FAIL,
    Reason.POLICY_DENIED: _access_denied("A rule of this gateway does not let your account do this."),
    Reason.POLICY_CONFLICT: _RULES_FAIL,
    Reason.POLICY_BUSY: _unavailable("The gateway is busy. Try again in a few seconds."),
    Reason.SESSION_NAME_INVALID: _access_denied("Your account has no name that AWS accepts for a session."),
    Reason.STS_ACCESS_DENIED: _access_denied("AWS does not let your account use the role meant for it."),
    Reason.STS_TOKEN_REFUSED: _invalid_token("AWS does not accept the access token."),
    Reason.STS_TOKEN_EXPIRED: _invalid_token("The access token has expired."),
    Reason.STS_UNAVAILABLE: _unavailable(
        "AWS's token service (STS) does not answer. Try again in a few seconds."
    ),
    Reason.STS_THROTTLED: _AWS_BUSY,
    Reason.STS_BUSY: _AWS_BUSY,
    Reason.USER_BUSY: Outcome(  # RFC 6585 4
        429,
        "temporarily_unavailable",
        "Too many sessions of this user are being opened at once.",
        1,
    ),
    Reason.STS_PROVIDER_UNREACHABLE: _unavailable(
        "AWS cannot reach the identity provider. Try again in a few seconds."
    ),
    Reason.STS_MISCONFIGURED: Outcome(
        500,
        "server_error",
        "AWS is not set up for this gateway's users, and logging in again does not help.",
        ask=True,
    ),
    Reason.TOKEN_EXCHANGE_REFUSED: _invalid_token("The identity provider does not accept the access token."),
    Reason.TOKEN_EXCHANGE_INTERACTION: _invalid_token("The identity provider requires a new login."),
    Reason.TOKEN_EXCHANGE_CONSENT: _invalid_token("The identity provider requires your consent."),
    Reason.TOKEN_EXCHANGE_DENIED: _access_denied(
        "The identity provider does not let your account be used here."
    ),
    Reason.TOKEN_EXCHANGE_MISCONFIGURED: Outcome(
        500,
        "server_error",
        "The gateway cannot exchange tokens at the identity provider, and logging in again does not help.",
        ask=True,
    ),
    Reason.TOKEN_EXCHANGE_UNAVAILABLE: _unavailable(
        "The identity provider does not answer the gateway. Try again in a few seconds."
    ),
    Reason.TOKEN_EXCHANGE_BUSY: _unavailable("The identity provider is busy. Try again in a few seconds."),
    Reason.TARGET_BUSY: Outcome(
        503, "temporarily_unavailable", "All connections to the target are in use. Try again.", 1
    ),
    Reason.USER_STREAMS: Outcome(  # RFC 6585 4
        429,
        "temporarily_unavailable",
        "As many of your requests are open as one user may have. End one, or try again.",
        1,
    ),
    Reason.RATE_LIMITED: Outcome(  # RFC 6585 4
        429, "temporarily_unavailable", "Too many requests. Wait before you try again.", 1
    ),
    Reason.TOOLS_LIST_UNREADABLE: Outcome(  # RFC 9110 15.6.3
        502, "server_error", "The gateway cannot read the server's list of tools."
    ),
    Reason.CONFIGURATION_CHANGED: Outcome(503, "temporarily_unavailable", "The request took too long.", 1),
    Reason.BODY_MODE_WRONG: _OUR_FAULT,
    Reason.PROTOCOL_VIOLATION: _OUR_FAULT,
    Reason.INTERNAL: _OUR_FAULT,
}
