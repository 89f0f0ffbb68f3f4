"""From an event of the audit log to the steps that led to it, with what each compared.

The event says where a request was refused. What came before that passed; what comes after was not tried. What
is compared is configured, so it is shown without anything of the token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from extproc.authn.verifier import Step
from extproc.config import Issuer, Settings
from extproc.errors import Reason

PASS, FAIL, NOT_TRIED, NOT_SAID = "pass", "fail", "not tried", "not said"

_STEP_OF_REASON = {
    Reason.TOKEN_MALFORMED: Step.FORMAT,
    Reason.ISSUER_UNKNOWN: Step.ISSUER,
    Reason.ALGORITHM_REFUSED: Step.HEADER,
    Reason.KEY_UNKNOWN: Step.KEY,
    Reason.KEYS_UNAVAILABLE: Step.KEY,
    Reason.SIGNATURE_INVALID: Step.SIGNATURE,
    Reason.ENVOY_UNVERIFIED: Step.SIGNATURE,
    Reason.TOKEN_EXPIRED: Step.TIMES,
    Reason.TOKEN_NOT_YET_VALID: Step.TIMES,
    Reason.AUDIENCE_WRONG: Step.AUDIENCE,
    Reason.CLAIMS_INVALID: Step.SUBJECT,
    Reason.CLAIM_REQUIRED: Step.CLAIMS,
}

_AFTER_THE_TOKEN = (
    ("revocation", "Revocation", "no revocation names the user, the issuer or the token"),
    ("body", "Message", "the body is one that is signed, and its MCP message has one reading"),
    ("policy", "Policy", "the first mapping whose condition is true gives the role; ceilings may lower it"),
    ("sts", "Exchange", "STS gives credentials of the role for the token"),
    ("target", "Target", "the target has room for another request"),
)

_PLACES = {
    Reason.ORIGIN_REFUSED: "request",
    Reason.TOKEN_MISSING: "request",
    Reason.AUTHORIZATION_MALFORMED: "request",
    Reason.SIGNATURE_IN_QUERY: "request",
    Reason.TOKEN_IN_URL: "request",
    Reason.TOO_MANY_HEADERS: "request",
    Reason.REQUEST_AMBIGUOUS: "request",
    Reason.HEADER_REFUSED: "request",
    Reason.UPGRADE_REFUSED: "request",
    Reason.TARGET_UNKNOWN: "request",
    Reason.BODY_CODING_REFUSED: "request",
    Reason.REVOKED: "revocation",
    Reason.TOKEN_REVOKED: "revocation",
    Reason.BODY_TOO_LARGE: "body",
    Reason.BODY_DIFFERS: "body",
    Reason.MCP_NOT_JSON: "body",
    Reason.MCP_MALFORMED: "body",
    Reason.MCP_PARAMS_INVALID: "body",
    Reason.MCP_HEADERS_DIFFER: "body",
    Reason.MCP_VERSION_UNSUPPORTED: "body",
    Reason.CLAIMS_SHAPE: "policy",
    Reason.NO_ROLE: "policy",
    Reason.POLICY_ERROR: "policy",
    Reason.POLICY_DENIED: "policy",
    Reason.POLICY_CONFLICT: "policy",
    Reason.POLICY_BUSY: "policy",
    Reason.SESSION_NAME_INVALID: "policy",
    Reason.TARGET_BUSY: "target",
    Reason.USER_STREAMS: "target",
}


@dataclass(frozen=True, slots=True)
class ShownStep:
    """One step.

    Attributes:
        number: of the ten steps of a verification; None for the others.
        result: ``pass``, ``fail``, ``not tried``, or ``not said`` where the event does not say.
        compared: what the step compares, as configured.
    """

    number: int | None
    name: str
    result: str
    compared: str
    detail: str = ""


def steps_of(event: Mapping[str, Any], settings: Settings) -> list[ShownStep]:
    """Return all steps in the order in which they are taken."""
    names = ["request", *(step.name for step in Step), *(place for place, _, _ in _AFTER_THE_TOKEN)]
    failed = _failed(event)
    position = names.index(failed) if failed else len(names) if event["decision"] == "allow" else None
    results = {name: _result(index, position) for index, name in enumerate(names)}
    detail = event["detail"] or event["reason"]
    issuer = next((entry for entry in settings.issuers if entry.issuer == event["issuer"]), None)
    shown = [
        ShownStep(None, "Request", results["request"], "its form, origin, headers, path and target"),
        *(
            ShownStep(step, step.name.capitalize(), results[step.name], compared(step, settings, issuer))
            for step in Step
        ),
        *(ShownStep(None, name, results[place], text) for place, name, text in _AFTER_THE_TOKEN),
    ]
    return [
        ShownStep(each.number, each.name, each.result, each.compared, detail if each.result == FAIL else "")
        for each in shown
    ]


def compared(step: Step, settings: Settings, issuer: Issuer | None) -> str:
    """Return what a step of the verification compares, by the settings of an issuer."""
    texts = {
        Step.FORMAT: f"three parts, at most {settings.limits.token_bytes:,} bytes, JSON with one reading",
        Step.ISSUER: "iss is one of: " + ", ".join(entry.issuer for entry in settings.issuers),
        Step.KEY: "kid and alg fit a key that the issuer publishes",
        Step.SIGNATURE: "the signature is the key's",
        Step.SUBJECT: "sub is a string of 1 to 255 characters",
    }
    if issuer is None:
        return texts.get(step, "as the issuer's configuration requires")
    types = ", ".join(name or "none" for name in issuer.token_types)
    texts |= {
        Step.HEADER: f"alg is one of: {', '.join(issuer.algorithms)}; typ is one of: {types}; no crit",
        Step.TIMES: f"exp is later than now, nbf and iat are not; {issuer.leeway} s of tolerance",
        Step.AUDIENCE: f"aud has one of: {', '.join(issuer.audiences)}",
        Step.CLAIMS: f"required: {', '.join(issuer.required_claims) or 'none'}",
        Step.SCOPES: f"required: {' '.join(issuer.required_scopes) or 'none'}",
    }
    if issuer.verified_by == "envoy":
        texts[Step.SIGNATURE] = "Envoy's jwt_authn has verified this very token"
    return texts[step]


def request_of(event: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a request that is equal to the event's as far as the audit log says, for ``Explain``."""
    request: dict[str, Any] = {"method": event["method"] or "POST", "path": event["path"] or "/"}
    if any(target.name == event["target"] and not target.prefix for target in settings.targets):
        request["target"] = event["target"]
    if event["mcp_method"]:
        request |= mcp_body(event["mcp_method"], event["mcp_tool"] or "", {})
    return request


def mcp_body(method: str, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers and body of an MCP message."""
    params = {"name": tool, "arguments": arguments} if tool else {}
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    return {
        "headers": headers,
        "body": {"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
    }


def _failed(event: Mapping[str, Any]) -> str | None:
    """Return the name of the step that refused the event's request; None if none did, or it is not known."""
    try:
        reason = Reason(event["reason"] or "")
    except ValueError:
        return None
    if reason in _STEP_OF_REASON:
        return _STEP_OF_REASON[reason].name
    if reason is Reason.CLAIM_INVALID:  # of step 6 or 8; the detail names the claim
        return (Step.SUBJECT if event["detail"].startswith("sub") else Step.TIMES).name
    if reason is Reason.SCOPE_MISSING:  # of the issuer, or of a mapping
        return "policy" if event["policy_us"] is not None else Step.SCOPES.name
    if reason.value.startswith(("sts_", "exchange_", "user_busy")):
        return "sts"
    return _PLACES.get(reason)


def _result(index: int, failed: int | None) -> str:
    if failed is None:
        return NOT_SAID
    if index == failed:
        return FAIL
    return PASS if index < failed else NOT_TRIED
