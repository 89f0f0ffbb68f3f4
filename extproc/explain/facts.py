"""An explanation as the JSON object that ``--json`` prints, and that the admin API answers with.

Never holds a token, nor the value of a claim.
"""

from typing import Any

from extproc.errors import Denied
from extproc.explain.explanation import Explanation, Result, Stage
from extproc.explain.stand_ins import Answered, StepResult
from extproc.policy.mappings import Rule
from extproc.policy.search import Evaluated
from extproc.values import Grant


def facts(explanation: Explanation) -> dict[str, Any]:
    """Return the object. The members up to ``stages`` are always there, others only if they have a value."""
    outcome = explanation.outcome
    grant = outcome if isinstance(outcome, Grant) else None
    denied = outcome if isinstance(outcome, Denied) else None
    decision = explanation.decision
    # A chained session is the one that signs, and has the restrictions.
    final = grant.chain if grant and grant.chain else grant
    by_policy = grant is not None or any(
        entry.stage is Stage.POLICY and entry.result is Result.FAIL for entry in explanation.stages
    )
    evaluated, ceilings = _entries(explanation)
    document: dict[str, Any] = {
        "outcome": "allow" if explanation.allowed else "deny",
        "reason": denied.reason.value if denied else None,
        "mapping": decision.rule.name if by_policy and decision and decision.rule else None,
        "role_arn": grant.role_arn if grant else None,
        "session_name": grant.session_name if grant else None,
        "session_duration": grant.duration if grant else None,
        "policy_arns": list(final.policy_arns) if final else [],
        "policy": final.policy if final else None,
        "evaluated": evaluated,
        "stages": [
            {"stage": entry.stage.value, "result": entry.result.value, "detail": entry.detail or None}
            for entry in explanation.stages
        ],
    }
    if ceilings:
        document["ceilings"] = ceilings
    if explanation.not_tried:
        document["not_tried"] = [{"kind": _kind(rule), "name": rule.name} for rule in explanation.not_tried]
    if grant and grant.chain:
        document["chained_role_arn"] = grant.chain.role_arn
    if denied:
        document |= _denial(denied)
        document["told"] = explanation.client_text
    if isinstance(outcome, Answered):
        document["status"] = outcome.status
    if explanation.request is not None:
        document["request"] = _request(explanation)
    if explanation.verification:
        document["verification"] = [_step(result) for result in explanation.verification]
    if decision:
        document |= {"claims": list(explanation.claims), "cost": decision.cost}
    return document | _remarks(explanation)


def _remarks(explanation: Explanation) -> dict[str, Any]:
    why_not = {"why_not": explanation.why_not.facts()} if explanation.why_not is not None else {}
    return why_not | ({"notes": list(explanation.notes)} if explanation.notes else {})


def _denial(denied: Denied) -> dict[str, Any]:
    members: dict[str, Any] = {"detail": denied.detail, "status": denied.reason.outcome.status}
    return members | ({"scopes": list(denied.scopes)} if denied.scopes else {})


def _entries(explanation: Explanation) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the evaluated mappings and ceilings."""
    decision = explanation.decision
    if decision is None:
        return [], []
    looked_at = (*decision.evaluated, *decision.ceilings)
    reasons = explanation.reasons or ((),) * len(looked_at)
    entries = [_entry(entry, why) for entry, why in zip(looked_at, reasons, strict=True)]
    mappings = len(decision.evaluated)
    return entries[:mappings], entries[mappings:]


def _entry(entry: Evaluated, why: tuple[str, ...]) -> dict[str, Any]:
    rule = entry.rule
    return {
        "name": rule.name,
        "priority": rule.priority,
        "matched": entry.matched,
        "error": entry.error,
        "missing": entry.missing,
        "missing_scopes": list(entry.lacking or ()),
        "effect": _effect(entry),
        "why": list(why),
    }


def _effect(entry: Evaluated) -> str:
    rule = entry.rule
    if isinstance(rule, Rule):
        return rule.role_arn or "deny"
    return f"at most {rule.max_mapping}" if rule.max_mapping else "session policy"


def _kind(rule: object) -> str:
    return "mapping" if isinstance(rule, Rule) else "ceiling"


def _request(explanation: Explanation) -> dict[str, Any]:
    request, admission, message = explanation.request, explanation.admission, explanation.message
    document: dict[str, Any] = {
        "method": request.method if request else None,
        "path": request.path if request else None,
        "target": admission.target.name if admission else None,
        "upstream": None,
    }
    if admission:
        query = f"?{admission.query}" if admission.query else ""
        document["upstream"] = f"https://{admission.target.host}{admission.path}{query}"
    if message is not None:
        document |= {"mcp_method": message.method, "mcp_name": message.name}
    return document


def _step(result: StepResult) -> dict[str, Any]:
    return {
        "step": int(result.step),
        "name": result.step.name.lower(),
        "passed": result.passed,
        "reason": result.reason,
        "detail": result.detail,
    }
