"""The policy's part of ``extproc explain``: a dry run for an identity and a request."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from extproc import strictjson
from extproc.app.rooms import build_policy, build_targets
from extproc.config import Settings
from extproc.errors import Denied
from extproc.policy.inputs import Inputs, request_variable
from extproc.policy.mcp import check_headers, parse_message
from extproc.policy.rules import Decision, Evaluated, Policy, Rule
from extproc.signing.path import forwardable
from extproc.values import Grant, Identity, RequestHead

_REQUEST_MEMBERS = frozenset({"method", "path", "headers", "body"})


class BadRequestError(ValueError):
    """The request cannot be used; the message says why."""


def decide(settings: Settings, identity: Identity, request: bytes | None) -> Decision:
    """Decide for an identity and a request (JSON: ``{"method", "path", "headers", "body"}``).

    Raises:
        BadRequestError: the request is not of that form.
    """
    policy = build_policy(settings)
    try:
        inputs = Inputs() if request is None else _inputs(settings, policy, _object(request, "request"))
    except Denied as denied:
        return Decision(denied, ())
    return policy.decide(identity, inputs)


def _object(document: bytes, name: str) -> dict[str, Any]:
    try:
        return strictjson.loads_object(document)
    except strictjson.AmbiguousJSONError as error:
        raise BadRequestError(f"{name}: {error}") from None


def _inputs(settings: Settings, policy: Policy, request: dict[str, Any]) -> Inputs:
    unknown = sorted(set(request) - _REQUEST_MEMBERS)
    if unknown:
        raise BadRequestError(f"request: unknown member {unknown[0]!r}")
    method, path = request.get("method", "POST"), request.get("path", "/mcp")
    headers, body = request.get("headers", {}), request.get("body", "")
    if not (isinstance(method, str) and isinstance(path, str) and path.startswith("/")):
        raise BadRequestError("request: method must be a text, path a text that begins with a slash")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise BadRequestError("request: headers must be an object of texts")
    fields = tuple((name.lower(), value) for name, value in headers.items())
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    authority = next((value for name, value in fields if name == "host"), "")
    head = RequestHead(method, path, authority, fields, has_body=bool(content))
    target = build_targets(settings).select(head)
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


def show_rules(decision: Decision) -> None:
    """Rules, results and the outcome, as a table for people."""
    console = Console()
    facts = as_json(decision)
    table = Table(title="Rules, in the order they are tried", title_justify="left")
    for column in ("kind", "name", "priority", "result", "then"):
        table.add_column(column)
    for kind, entries in (("mapping", decision.evaluated), ("ceiling", decision.ceilings)):
        for entry in entries:
            result = f"error: {entry.error}" if entry.error else "matches" if entry.matched else "no match"
            priority = "last" if entry.rule.priority is None else str(entry.rule.priority)
            # Text: names come from a file, and brackets in them are no markup.
            table.add_row(kind, Text(entry.rule.name), priority, Text(result), Text(_effect(entry)))
    console.print(table)
    allowed = facts["outcome"] == "allow"
    console.print("allowed" if allowed else f"denied: {facts['reason']}", style="green" if allowed else "red")
    shown = ("detail", "mapping", "role_arn", "chained_role_arn", "session_name", "session_duration")
    for name in (*shown, "policy_arns", "policy"):
        value = facts.get(name)
        if value:
            line = f"  {name}: {', '.join(value) if isinstance(value, list) else value}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    if allowed and facts["mapping"] is None:
        console.print("  no mapping matched: this is the fallback role", markup=False)


def _effect(entry: Evaluated) -> str:
    rule = entry.rule
    if isinstance(rule, Rule):
        return rule.role_arn or "deny"
    return f"at most {rule.max_mapping}" if rule.max_mapping else "session policy"
