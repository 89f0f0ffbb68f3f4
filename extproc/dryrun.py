"""What would be decided for an identity and a request, without anybody asking for it.

Behind ``extproc explain`` and the admin API's ``Explain``: same input, same JSON.
"""

import json
from collections.abc import Mapping
from typing import Any

from extproc import strictjson
from extproc.errors import Denied
from extproc.policy.inputs import Inputs, request_variable
from extproc.policy.mcp import check_headers, parse_message
from extproc.policy.rules import Decision, Evaluated, Policy
from extproc.signing.path import forwardable
from extproc.signing.targets import TargetTable
from extproc.values import Grant, Identity, RequestHead

_REQUEST_MEMBERS = frozenset({"method", "path", "headers", "body"})
_ASSUMED_LIFETIME = 3600.0  # seconds, for claims without exp


class BadInputError(ValueError):
    """Claims or a request that cannot be used; the message says why and never quotes them."""


def identity_of(claims: bytes, *, now: float) -> Identity:
    """Claims (a JSON object) as if they had been verified.

    Raises:
        BadInputError: they are no JSON object.
    """
    members = _object(claims, "claims")
    return Identity(
        issuer=_text(members.get("iss")),
        subject=_text(members.get("sub")),
        expires_at=now + _ASSUMED_LIFETIME,
        claims=members,
        key_thumbprint=None,
    )


def decide(policy: Policy, targets: TargetTable, identity: Identity, request: bytes | None) -> Decision:
    """Decide for an identity and a request (JSON: ``{"method", "path", "headers", "body"}``).

    Raises:
        BadInputError: the request is not of that form.
    """
    try:
        inputs = Inputs() if request is None else _inputs(policy, targets, _object(request, "request"))
    except Denied as denied:
        return Decision(denied, ())
    return policy.decide(identity, inputs)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(document: bytes, name: str) -> dict[str, Any]:
    try:
        return strictjson.loads_object(document)
    except strictjson.AmbiguousJSONError as error:
        raise BadInputError(f"{name}: {error}") from None


def _inputs(policy: Policy, targets: TargetTable, request: dict[str, Any]) -> Inputs:
    unknown = sorted(set(request) - _REQUEST_MEMBERS)
    if unknown:
        raise BadInputError(f"request: unknown member {unknown[0]!r}")
    method, path = request.get("method", "POST"), request.get("path", "/mcp")
    headers, body = request.get("headers", {}), request.get("body", "")
    if not (isinstance(method, str) and isinstance(path, str) and path.startswith("/")):
        raise BadInputError("request: method must be a text, path a text that begins with a slash")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise BadInputError("request: headers must be an object of texts")
    fields = tuple((name.lower(), value) for name, value in headers.items())
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    authority = next((value for name, value in fields if name == "host"), "")
    head = RequestHead(method, path, authority, fields, has_body=bool(content))
    target = targets.select(head)
    forwarded, _ = forwardable(target.strip_prefix(path), slashes_matter=target.s3_style)
    variable = request_variable(head, path=forwarded, target=target.name)
    if not (policy.reads_mcp and content):
        return Inputs(variable)
    message = parse_message(content)
    check_headers(message, head)
    return Inputs(variable, message.variable(head), message)


def as_json(decision: Decision) -> dict[str, Any]:
    """The decision as ``--json`` prints it; the last three members only where there is something to tell."""
    outcome = decision.outcome
    grant = outcome if isinstance(outcome, Grant) else None
    denied = outcome if isinstance(outcome, Denied) else None
    # A chained session is the one that signs, and has the restrictions.
    final = grant.chain if grant and grant.chain else grant
    return {
        "outcome": "allow" if grant else "deny",
        "reason": denied.reason.value if denied else None,
        "mapping": decision.rule.name if decision.rule else None,
        "role_arn": grant.role_arn if grant else None,
        "session_name": grant.session_name if grant else None,
        "session_duration": grant.duration if grant else None,
        "policy_arns": list(final.policy_arns) if final else [],
        "policy": final.policy if final else None,
        "evaluated": [_entry(entry) for entry in decision.evaluated],
        **({"ceilings": [_entry(entry) for entry in decision.ceilings]} if decision.ceilings else {}),
        **({"chained_role_arn": grant.chain.role_arn} if grant and grant.chain else {}),
        **({"detail": denied.detail} if denied else {}),
    }


def _entry(entry: Evaluated) -> Mapping[str, Any]:
    rule = entry.rule
    return {
        "name": rule.name,
        "priority": rule.priority,
        "matched": entry.matched,
        "error": entry.error,
    }
