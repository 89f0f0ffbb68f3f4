"""Policy: the rules in the order in which they are tried, how often each decided, and what looks wrong."""

from collections.abc import Iterator
from typing import Any

from starlette.responses import Response

from extproc.app.factories import warnings
from extproc.config import notes
from extproc.console.docs import of_reason
from extproc.console.history import Filter
from extproc.console.server_api import CallError
from extproc.console.visit import Visit
from extproc.policy import review
from extproc.policy.ceilings import Ceiling
from extproc.policy.cel import BoolExpression
from extproc.policy.mappings import Rule


async def policy(visit: Visit) -> Response:
    """Return the page."""
    parts = visit.parts
    hits = dict(parts.history.counts("mapping", Filter(outcome="allow"), size=10_000))
    allowed = sum(hits.values())
    reasons = parts.history.counts("reason", Filter(outcome="deny"), size=1000)
    return visit.html(
        "policy.html",
        rules=[_rule(entry) | {"hits": hits.get(entry.name, 0)} for entry in parts.policy.rules],
        ceilings=[_rule(entry) for entry in parts.policy.ceilings],
        fallback=parts.policy.fallback_role_arn,
        fallback_hits=hits.get("", 0),
        allowed=allowed,
        denied=[(reason, count) for reason, count in reasons if of_reason(reason) == "policy"],
        findings=_findings(visit),
        cost=review.cost(parts.policy),
        same=await _is_running(visit),
        shadow=await _shadow(visit),
    )


def _rule(entry: Rule | Ceiling) -> dict[str, Any]:
    matcher = entry.matcher
    source = matcher.source if isinstance(matcher, BoolExpression) else None
    shown: dict[str, Any] = {
        "name": entry.name,
        "priority": entry.priority,
        "condition": source or f'"{matcher.value}" in the role claim {matcher.claim}',  # type: ignore[attr-defined]
        "issuers": sorted(entry.issuers or ()),
        "scopes": " ".join(entry.require_scopes.names),
        "session_policy": bool(entry.session_policy),
        "message": entry.message,
    }
    if isinstance(entry, Rule):
        chain = entry.chain
        return shown | {
            "role_arn": entry.role_arn,
            "chained": chain.role_arn if chain else None,
            "chosen_account": entry.account is not None,
        }
    return shown | {"max_mapping": entry.max_mapping}


def _findings(visit: Visit) -> list[tuple[str, str]]:
    """Return what ``extproc check`` prints: kind and text."""

    def found() -> Iterator[tuple[str, str]]:
        settings, policy = visit.parts.settings, visit.parts.policy
        yield from (("warning", text) for text in warnings(settings, policy))
        yield from (("note", text) for text in (*notes(settings), *review.notes(policy)))

    return list(found())


async def _shadow(visit: Visit) -> dict[str, Any] | None:
    """Return how decisions would differ under the candidate of ``shadow``; None without one."""
    if visit.parts.settings.shadow is None:
        return None
    try:
        return await visit.parts.api.call("GetShadow")
    except CallError as error:
        return {"path": "", "problems": [str(error)], "decisions": {}, "differences": []}


async def _is_running(visit: Visit) -> bool | None:
    """Return whether the server runs the configuration of the file; None if it does not answer."""
    try:
        workers = await visit.parts.api.workers()
    except CallError:
        return None
    problems = [
        problem for worker in workers for problem in worker.get("configuration", {}).get("problems", [])
    ]
    return not problems
