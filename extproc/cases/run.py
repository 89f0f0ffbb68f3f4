"""Decide cases, and compare the outcomes with the expected ones."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from extproc.cases.coverage import Coverage
from extproc.cases.document import Case, Expect
from extproc.cases.second_engine import SecondEngine
from extproc.errors import Denied
from extproc.explain.errors import BadInputError
from extproc.explain.explanation import Explanation
from extproc.explain.run import Environment, explain_claims
from extproc.policy.search import Evaluated
from extproc.values import Grant


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one case.

    Attributes:
        differences: what is not as expected; empty if the case passed.
        seconds: the time that the decision took.
    """

    name: str
    differences: tuple[str, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Return whether everything is as expected."""
        return not self.differences


async def run(
    environment: Environment,
    cases: Sequence[Case],
    coverage: Coverage | None = None,
    second: SecondEngine | None = None,
) -> list[CaseResult]:
    """Decide all cases in order.

    Args:
        environment: the configuration.
        cases: the cases.
        coverage: receives each explanation.
        second: another engine, which must agree.
    """
    # Reasons are for people, and compiling them takes longer than all decisions.
    quick = replace(environment, with_reasons=False)
    results = []
    for case in cases:
        began = time.perf_counter()
        clock = environment.clock if case.at is None else partial(float, case.at)
        try:
            explanation = await explain_claims(replace(quick, clock=clock), case.claims, case.request)
            differences = tuple(_differences(explanation, case.expect))
            if differences:
                explained = await explain_claims(replace(environment, clock=clock), case.claims, case.request)
                differences += tuple(_decisive_reasons(explained))
            if second is not None:
                differences += tuple(second.disagreements(explanation))
            if coverage is not None:
                coverage.note(explanation)
        except BadInputError as error:
            differences = (f"bad input: {error}",)
        results.append(CaseResult(case.name, differences, time.perf_counter() - began))
    return results


def _differences(explanation: Explanation, expect: Expect) -> Iterator[str]:
    outcome, rule = explanation.outcome, explanation.decision and explanation.decision.rule
    if expect.denied is not None:
        reason = outcome.reason.value if isinstance(outcome, Denied) else None
        if reason != expect.denied:
            yield f"expected denied {expect.denied}, got {_shown(explanation)}"
    elif not isinstance(outcome, Grant):
        yield f"expected a role, got {_shown(explanation)}"
        return
    if "mapping" in expect.model_fields_set:
        name = rule.name if rule else None
        if name != expect.mapping:
            yield f"expected mapping {expect.mapping or 'none'}, got {name or 'none'}"
    if isinstance(outcome, Grant):
        yield from _grant_differences(outcome, expect)


def _grant_differences(grant: Grant, expect: Expect) -> Iterator[str]:
    # A chained session is the one that signs, and has the restrictions.
    final = grant.chain or grant
    actual: dict[str, Any] = {
        "role": final.role_arn,
        "session_name": grant.session_name,
        "policy": json.loads(final.policy) if final.policy else None,
        "policy_arns": sorted(final.policy_arns),
    }
    for name in actual.keys() & expect.model_fields_set:
        wanted = getattr(expect, name)
        if name == "policy_arns":
            wanted = sorted(wanted or [])
        if wanted != actual[name]:
            yield f"expected {name} {_compact(wanted)}, got {_compact(actual[name])}"


def _shown(explanation: Explanation) -> str:
    outcome = explanation.outcome
    if isinstance(outcome, Grant):
        return f"{(outcome.chain or outcome).role_arn} of mapping {outcome.mapping or 'none'}"
    if isinstance(outcome, Denied):
        return f"denied {outcome}"
    return f"an answer of extproc itself ({outcome.status})"


def _decisive_reasons(explanation: Explanation) -> Iterator[str]:
    decision = explanation.decision
    looked_at: tuple[Evaluated, ...] = (*decision.evaluated, *decision.ceilings) if decision else ()
    for entry, reasons in zip(looked_at, explanation.reasons, strict=False):
        result = "an error" if entry.error else "applies" if entry.matched else "does not apply"
        yield f"  {entry.rule.name} {result}" + (f": {'; '.join(reasons)}" if reasons else "")


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
