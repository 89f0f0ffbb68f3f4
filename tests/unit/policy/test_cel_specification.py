"""The engine against the CEL specification's own cases, where those are beside the project.

``make cel-spec`` fetches them; ``CEL_SPEC`` names their folder.
"""

import math

import pytest

from extproc.policy import cel
from extproc.policy.cel.values import TYPES, Uint, key, key_value
from support import celspec

ROOT = celspec.folder()
CASES = celspec.cases(ROOT) if ROOT else []
pytestmark = pytest.mark.skipif(not CASES, reason="CEL_SPEC names no folder with the specification's cases")

ERROR = "error"

KNOWN = {
    f"fields/quoted_map_fields/{name}": "members in backticks, which cel-go leaves out as well by default"
    for name in (
        "field_access_slash", "field_access_dash", "field_access_dot",
        "has_field_slash", "has_field_dash", "has_field_dot",
    )
}  # fmt: skip
"""Cases that do not compile here, and why."""


def given(typed):
    """A typed value as the engine has it."""
    kind, value = typed
    if kind == "list":
        return [given(entry) for entry in value]
    if kind == "map":
        return {key(given(name)): given(entry) for name, entry in value}
    return Uint(value) if kind == "uint" else value


def typed(value):
    """A value of the engine with its type."""
    kind = TYPES[type(value)].value
    if kind == "list":
        return (kind, [typed(entry) for entry in value])
    if kind == "map":
        return (kind, [(typed(key_value(name)), typed(entry)) for name, entry in value.items()])
    if kind == "type":
        return (kind, value.value)
    return (kind, int(value) if kind == "uint" else value)


def same(mine, theirs):
    if mine[0] != theirs[0]:
        return False
    if mine[0] == "list":
        return len(mine[1]) == len(theirs[1]) and all(map(same, mine[1], theirs[1]))
    if mine[0] == "map":
        rest = list(theirs[1])
        return len(rest) == len(mine[1]) and all(
            any(same(name, n) and same(value, v) for n, v in rest) for name, value in mine[1]
        )
    if mine[0] == "double":
        return mine[1] == theirs[1] or (math.isnan(mine[1]) and math.isnan(theirs[1]))
    return mine[1] == theirs[1]


def outcome(case):
    """``right``, or what differs."""
    try:
        expression = cel.compile_any(
            case.expression, variables=frozenset(case.variables), checked=case.is_checked
        )
    except cel.ExpressionError as error:
        return "right" if case.expected is None else f"refused: {error}"
    try:
        value = expression.value({name: given(value) for name, value in case.variables.items()})
    except cel.EvaluationError as error:
        return "right" if case.expected is None else f"error: {error}"
    if case.expected is None:
        return f"value: {typed(value)}"
    return "right" if same(typed(value), case.expected) else f"wrong: {typed(value)}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_of_the_specification_passes_or_is_refused_for_a_known_reason(case):
    result = outcome(case)
    if case.is_time and case.expected is not None:
        # Policies have no clock, and durations are read in time exponential in a hostile string.
        assert result.startswith("refused")
    elif case.name in KNOWN:
        assert result.startswith(("refused", "error"))
    else:
        assert result == "right"


def test_nearly_all_cases_pass():
    relevant = [case for case in CASES if not case.is_time]
    right = sum(outcome(case) == "right" for case in relevant)
    assert len(relevant) >= 1000
    assert right == len(relevant) - len(KNOWN)
