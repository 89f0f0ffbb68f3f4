"""Rule conditions in CEL: compiling, evaluating, and what that costs.

cel-python parses; what a parsed expression means is decided here, by exactly the overloads of the
CEL specification, because its evaluator is more forgiving (``string(true)`` is "True" there,
``int(null)`` is 0, and true equals 1). Where cel-go and the specification leave a choice, or the
specification's engines differ, the result is an error, and an error denies:

* a condition matches only on the exact value ``true``, not on truthy values;
* only declared variables and known functions compile, and only to a bounded depth;
* a missing member is told apart from any other failure: rules decide what it means.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from extproc.policy.cel.budget import DEFAULT_COST_LIMIT, Budget
from extproc.policy.cel.code import Code, cost_at
from extproc.policy.cel.compiler import Compiler
from extproc.policy.cel.errors import EvaluationError, ExpressionError, MissingMemberError, Path, shown
from extproc.policy.cel.syntax import MAX_EXPRESSION_LENGTH, parse, reads
from extproc.policy.cel.values import CelType, to_cel

__all__ = [
    "DEFAULT_COST_LIMIT",
    "MAX_EXPRESSION_LENGTH",
    "BoolExpression",
    "Budget",
    "EvaluationError",
    "ExpressionError",
    "MissingMemberError",
    "Path",
    "StringExpression",
    "Value",
    "compile_any",
    "compile_bool",
    "compile_string",
    "shown",
    "to_cel",
]


@dataclass(frozen=True, slots=True)
class _Expression:
    """A compiled expression. Thread-safe: each evaluation has a frame of its own.

    Attributes:
        source: the expression as written.
        reads: paths of the members that it may read, each beginning with the variable.
        constant: the result, if it is a bool that no input can change.
        faults: messages about parts that fail for every input.
    """

    source: str
    reads: frozenset[Path]
    constant: bool | None
    faults: tuple[str, ...] = field(compare=False)
    _code: Code = field(repr=False, compare=False)
    _slots: Mapping[str, int] = field(repr=False, compare=False)
    _frame_size: int = field(repr=False, compare=False)

    def cost(self, size: int) -> int:
        """Return an upper estimate of the cost in units if every list of the claims has ``size`` elements."""
        return self._code.nodes + cost_at(self._code.more, size)

    def _evaluate(self, variables: Mapping[str, Any], budget: Budget | None) -> Any:
        budget = budget or Budget()
        frame: list[Any] = [None] * self._frame_size
        frame[0] = budget
        for name, slot in self._slots.items():
            frame[slot] = variables[name]
        budget.spend(self._code.nodes)
        try:
            return self._code.run(frame)
        except EvaluationError:
            raise
        except Exception as error:  # noqa: BLE001 - any failure means that the result is unknown
            raise EvaluationError(type(error).__name__) from None


_E = TypeVar("_E", bound=_Expression)


@dataclass(frozen=True, slots=True)
class BoolExpression(_Expression):
    """A compiled expression whose result must be a bool."""

    def matches(self, variables: Mapping[str, Any], budget: Budget | None = None) -> bool:
        """Return whether the result is exactly ``true`` for variables made by ``to_cel``.

        Raises:
            MissingMemberError: a member that decides the result is missing.
            EvaluationError: every other failure.
        """
        result = self._evaluate(variables, budget)
        if type(result) is not bool:
            raise EvaluationError("the result is not a bool")
        return result


@dataclass(frozen=True, slots=True)
class StringExpression(_Expression):
    """A compiled expression whose result must be a string."""

    def value(self, variables: Mapping[str, Any], budget: Budget | None = None) -> str:
        """Return the result for variables made by ``to_cel``.

        Raises:
            EvaluationError: every failure, including a missing member.
        """
        result = self._evaluate(variables, budget)
        if type(result) is not str:
            raise EvaluationError("the result is not a string")
        return result


@dataclass(frozen=True, slots=True)
class Value(_Expression):
    """A compiled expression whose result may have any type."""

    def value(self, variables: Mapping[str, Any], budget: Budget | None = None) -> Any:
        """Return the CEL value; raises ``EvaluationError``."""
        return self._evaluate(variables, budget)


def compile_bool(source: str, *, variables: frozenset[str]) -> BoolExpression:
    """Compile a boolean expression over the declared variables.

    Raises:
        ExpressionError: syntax, an undeclared variable, an unknown or refused function, an invalid
            regular expression, a result that is never a bool.
    """
    return _compiled(BoolExpression, source, variables, CelType.BOOL)


def compile_string(source: str, *, variables: frozenset[str]) -> StringExpression:
    """Compile an expression that gives a string; raises ``ExpressionError`` like ``compile_bool``."""
    return _compiled(StringExpression, source, variables, CelType.STRING)


def compile_any(source: str, *, variables: frozenset[str], checked: bool = True) -> Value:
    """Compile an expression of any type; raises ``ExpressionError`` like ``compile_bool``.

    Without ``checked``, an unknown name fails when it is evaluated, as in CEL without its type check.
    Rules are always compiled with it.
    """
    return _compiled(Value, source, variables, None, checked=checked)


def _compiled(
    kind: type[_E], source: str, variables: frozenset[str], wanted: CelType | None, *, checked: bool = True
) -> _E:
    compiler = Compiler(variables, checked=checked)
    try:
        tree = parse(source)
        code, slots = compiler.compile(tree)
    except RecursionError:
        raise ExpressionError("nested too deeply") from None
    if wanted is not None and code.type not in (None, wanted):
        raise ExpressionError(f"the result is {code.type.value}, never {wanted.value}")
    read = frozenset(reads(tree, variables))
    used = {path[0] for path in read}
    return kind(
        source,
        read,
        code.constant if type(code.constant) is bool else None,
        tuple(compiler.faults),
        code,
        {name: slot for name, slot in slots.items() if name in used},
        compiler.frame_size,
    )
