"""A second decision about each condition, by Google's CEL engine where the extra ``cel`` is installed."""

from collections.abc import Iterator, Mapping
from typing import Any

from extproc.explain.explanation import Explanation
from extproc.policy.cel import BoolExpression, Budget, EvaluationError
from extproc.policy.rules import Policy


def second_environment() -> Any:
    """Return the engine's environment with the variables of conditions; None if it is not installed."""
    try:
        from cel_expr_python import cel  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    text, any_type = cel.Type.STRING, cel.Type.DYN
    variables = {
        **dict.fromkeys(("claims", "request", "mcp"), cel.Type.Map(text, any_type)),
        "agents": cel.Type.List(text),
    }
    return cel.NewEnv(variables=variables)


class SecondEngine:
    """Decides the conditions of one policy once more. Without the engine it finds nothing."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._environment = second_environment()
        self._compiled: dict[str, Any] = {}
        self.decided = 0

    def disagreements(self, explanation: Explanation) -> Iterator[str]:
        """Yield the conditions whose results differ.

        An error of ours, where the other engine has a result, is none: it denies, and docs/policy.md lists
        them.
        """
        decision, variables = explanation.decision, explanation.variables
        identity, inputs = explanation.identity, explanation.inputs
        if (
            self._environment is None
            or decision is None
            or variables is None
            or identity is None
            or inputs is None
        ):
            return
        plain = self._policy.plain_variables(identity, inputs)
        for entry in (*decision.evaluated, *decision.ceilings):
            if not isinstance(entry.rule.matcher, BoolExpression) or entry.foreign or entry.inactive:
                continue
            ours = _ours(entry.rule.matcher, variables)
            if ours is None:
                continue
            theirs = self._theirs(entry.rule.matcher.source, plain)
            self.decided += 1
            if theirs is not ours:
                yield (
                    f"{entry.rule.name}: the engines disagree: its condition is {_shown(ours)}, and by "
                    f"cel-expr-python {_shown(theirs)}"
                )

    def _theirs(self, source: str, plain: Mapping[str, Any]) -> bool | None:
        compiled = self._compiled.get(source)
        try:
            if compiled is None:
                compiled = self._compiled[source] = self._environment.compile(source)
            result = compiled.eval(data=dict(plain)).value()
        except Exception:  # noqa: BLE001 - an error is a result, of whatever type that library raises it
            return None
        return result if isinstance(result, bool) else None


def _ours(matcher: BoolExpression, variables: Mapping[str, Any]) -> bool | None:
    try:
        return matcher.matches(variables, Budget())
    except EvaluationError:
        return None


def _shown(result: bool | None) -> str:  # noqa: FBT001
    return "an error" if result is None else str(result).lower()
