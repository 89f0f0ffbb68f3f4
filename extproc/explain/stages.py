"""The stages of an explained request: their order, the one that failed, and the result of each."""

from dataclasses import replace

from extproc.authn.verifier import Step
from extproc.errors import Denied, Reason
from extproc.explain.asked import AskedRequest
from extproc.explain.explanation import Explanation, Result, Stage, StageResult
from extproc.explain.stand_ins import Answered, AssumingVerifier, WatchedVerifier
from extproc.policy.rules import Decision
from extproc.request.admission import Admission
from extproc.telemetry.record import RequestRecord
from extproc.values import Grant

_ENVOYS = "taken for passed: Envoy's jwt_authn checks this issuer's tokens"
_BY_ENVOY = {Step.KEY: _ENVOYS, Step.SIGNATURE: _ENVOYS}
_NO_STS = "explain does not ask STS, which may still refuse"

Watcher = WatchedVerifier | AssumingVerifier


def failed_at(
    outcome: Grant | Denied | Answered,
    record: RequestRecord,
    watcher: Watcher,
    admission: Admission | None,
    decision: Decision | None,
) -> Stage:
    """Return the stage that denied the request; of no meaning if none did."""
    if admission is None or not isinstance(outcome, Denied):
        return Stage.REQUEST
    if not watcher.notes.passed:
        return Stage.TOKEN
    if outcome.reason in (Reason.REVOKED, Reason.TOKEN_REVOKED):
        return Stage.REVOCATION
    if record.identity is None:
        return Stage.STS_TOKEN
    if decision is not None and isinstance(decision.outcome, Denied):
        return Stage.POLICY
    return Stage.BODY if record.head is not None and record.head.has_body else Stage.REQUEST


def with_scopes(
    outcome: Grant | Denied | Answered, watcher: Watcher, decision: Decision | None
) -> Grant | Denied | Answered:
    """Return the outcome with the scopes of its challenge, which ``on_decision`` does not receive."""
    causes = (decision.outcome if decision is not None else None, watcher.notes.denied)
    for cause in causes:
        if isinstance(outcome, Denied) and isinstance(cause, Denied) and cause.reason is outcome.reason:
            return cause
    return outcome


def order_of(request: AskedRequest, admission: Admission | None, failed: Stage) -> list[Stage]:
    """Return the stages of this request, in the order in which the server takes them."""
    order = [Stage.REQUEST, Stage.TOKEN]
    if failed is Stage.STS_TOKEN or (admission and admission.unverified_exchange_tokens):
        order.append(Stage.STS_TOKEN)
    order += [Stage.REVOCATION, Stage.POLICY]
    if request.body or request.trailers:
        order.insert(
            order.index(Stage.POLICY) + (admission is None or not admission.decided_by_body), Stage.BODY
        )
    return [*order, Stage.STS]


def stage_results(order: list[Stage], outcome: Grant | Denied | Answered, failed: Stage) -> list[StageResult]:
    """Return passed for the stages before the failed one, and not tried for those after it and for STS."""
    stages = []
    for stage in order[:-1]:
        if isinstance(outcome, Grant) or (
            isinstance(outcome, Denied) and order.index(stage) < order.index(failed)
        ):
            stages.append(StageResult(stage, Result.PASS))
        elif isinstance(outcome, Denied) and stage is failed:
            stages.append(StageResult(stage, Result.FAIL, str(outcome)))
        else:
            stages.append(StageResult(stage, Result.NOT_TRIED))
    stages.append(StageResult(order[-1], Result.NOT_TRIED, _NO_STS if isinstance(outcome, Grant) else ""))
    return stages


def explanation_of(
    watcher: Watcher, outcome: Grant | Denied | Answered, stages: list[StageResult]
) -> Explanation:
    """Return the explanation, with the steps of the verifier if it verified a real token."""
    begun = watcher.notes.begun
    assumed = isinstance(watcher, AssumingVerifier)
    by_envoy = Step.SIGNATURE in begun and Step.KEY not in begun
    if assumed:
        stages = [_assumed(entry) for entry in stages]
    steps = watcher.notes.results(not_taken=_BY_ENVOY if by_envoy else {})
    return Explanation(
        outcome=outcome, stages=tuple(stages), verification=() if assumed or not begun else steps
    )


def _assumed(entry: StageResult) -> StageResult:
    if entry.stage is not Stage.TOKEN or entry.result is not Result.PASS:
        return entry
    return replace(entry, detail="claims stand for a token that was verified")
