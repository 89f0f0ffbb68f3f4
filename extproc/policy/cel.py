"""The one place that touches cel-python: compiling and evaluating rule conditions.

The engine is kept on a short lead, because it is more forgiving than CEL is:

* a condition matches only on the exact CEL value ``true``, nothing merely truthy;
* a string is never taken for a list, neither by ``in`` nor by the macros;
* only declared variables and known functions compile;
* a missing member means "no match"; any other failure is an error that denies.

Only the interpreted runner is used: the compiled one of 0.5.0 gives wrong answers
for ``!has(...)`` and mixes threads up.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import celpy
import lark
from celpy import celtypes
from celpy.evaluation import CELEvalError, Evaluator, base_functions

MAX_EXPRESSION_LENGTH = 4096
_MACROS = frozenset({"map", "filter", "all", "exists", "exists_one"})
_SPECIAL_FORMS = frozenset({"has", "dyn"})
# duration() takes time exponential in a hostile text; types and messages have no use in a condition.
_REFUSED_FUNCTIONS = frozenset({"duration", "timestamp"})


class ExpressionError(ValueError):
    """An expression that cannot be used; the message says where and why."""


class EvaluationError(Exception):
    """An evaluation went wrong. Carries the kind of the failure only, never a value of the claims."""


class _Evaluator(Evaluator):  # type: ignore[misc]
    """Evaluates macros over lists and maps only."""

    def member_dot_arg(self, tree: Any) -> Any:
        receiver, method = tree.children[:2]
        if method.value not in _MACROS:
            return super().member_dot_arg(tree)
        value = self.visit(receiver)
        if isinstance(value, CELEvalError):
            return value
        if not isinstance(value, celtypes.ListType | celtypes.MapType):
            return CELEvalError("a macro needs a list or a map", TypeError, None)
        # The receiver is evaluated already: hand the value on, so that chains stay linear.
        evaluated = lark.Tree(_Evaluated.data, [value])
        return super().member_dot_arg(lark.Tree(tree.data, [evaluated, *tree.children[1:]], tree.meta))

    def _evaluated(self, tree: Any) -> Any:
        return tree.children[0]


class _Evaluated:
    data = "_evaluated"


class _Runner(celpy.InterpretedRunner):  # type: ignore[misc]
    def evaluate(self, context: Mapping[str, Any]) -> Any:
        return _Evaluator(ast=self.ast, activation=self.new_activation()).evaluate(context)


def _contained(item: Any, container: Any) -> Any:
    """``in`` for lists and map keys (CEL has it for nothing else)."""
    if isinstance(item, CELEvalError):
        return item
    if isinstance(container, CELEvalError):
        return container
    if not isinstance(container, celtypes.ListType | celtypes.MapType):
        return CELEvalError("'in' needs a list or a map", TypeError, None)
    return base_functions["_in_"](item, container)


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled expression. Safe to evaluate from several threads: each evaluation has its own evaluator."""

    source: str
    _program: Any = field(repr=False, compare=False)

    def matches(self, variables: Mapping[str, Any]) -> bool:
        """Whether the expression is exactly ``true`` for these variables (made by ``to_cel``).

        Raises:
            EvaluationError: for every failure but a missing member, which is no match.
        """
        try:
            result = self._program.evaluate(variables)
        except CELEvalError as error:
            kind = error.args[1] if len(error.args) > 1 else None
            if kind is KeyError:
                return False
            raise EvaluationError(getattr(kind, "__name__", "error")) from None
        except Exception as error:  # noqa: BLE001 - whatever it is, it means "cannot tell"
            raise EvaluationError(type(error).__name__) from None
        if not isinstance(result, celtypes.BoolType):
            raise EvaluationError("the result is not a bool")
        return bool(result)


def compile_condition(source: str, *, variables: frozenset[str]) -> Condition:
    """Compile a boolean expression over the declared variables.

    Raises:
        ExpressionError: syntax, an undeclared variable, an unknown or refused function.
    """
    if len(source) > MAX_EXPRESSION_LENGTH:
        raise ExpressionError(f"longer than {MAX_EXPRESSION_LENGTH} characters")
    # One environment each: annotations would be shared otherwise. The parser behind it is global.
    environment = celpy.Environment(runner_class=_Runner)
    try:
        tree = environment.compile(source)
        for problem in _problems(tree, variables):
            raise ExpressionError(problem)
        program = environment.program(tree, functions={"_in_": _contained})
    except celpy.CELParseError as error:
        where = f"line {error.line}, column {error.column}: " if error.line else ""
        raise ExpressionError(f"{where}not a CEL expression") from None
    except RecursionError:
        raise ExpressionError("nested too deeply") from None
    return Condition(source, program)


def to_cel(value: Any) -> Any:
    """Plain JSON types as CEL values.

    Raises:
        EvaluationError: numbers beyond 64 bits, nesting beyond the interpreter's.
    """
    try:
        return celpy.json_to_cel(value)
    except Exception as error:  # noqa: BLE001 - ValueError, RecursionError and others
        raise EvaluationError(type(error).__name__) from None


def _problems(tree: Any, bound: frozenset[str]) -> Iterator[str]:
    """What is wrong with the names in an expression, in reading order."""
    if not _is_tree(tree):
        return
    if tree.data == "ident":
        name = tree.children[0]
        if name.value not in bound:
            yield f"column {name.column}: undeclared variable {name.value!r}"
    elif tree.data == "member_dot_arg" and tree.children[1].value in _MACROS:
        yield from _macro_problems(tree, bound)
    else:
        yield from _construct_problems(tree)
        for child in tree.children:
            yield from _problems(child, bound)


def _construct_problems(tree: Any) -> Iterator[str]:
    called = {"ident_arg": 0, "dot_ident_arg": 0, "member_dot_arg": 1}.get(tree.data)
    if called is not None:
        name = tree.children[called]
        if not (_known_function(name.value) or name.value in _SPECIAL_FORMS):
            yield f"column {name.column}: unknown function {name.value!r}"
    elif tree.data in ("member_object", "dot_ident"):
        yield "messages and absolute names are not supported"


def _macro_problems(tree: Any, bound: frozenset[str]) -> Iterator[str]:
    receiver, name, arguments = (*tree.children, None)[:3]
    yield from _problems(receiver, bound)
    expressions = arguments.children if _is_tree(arguments) else []
    variable = _identifier(expressions[0]) if expressions else None
    if variable is None:
        yield f"column {name.column}: {name.value}() needs a variable name first"
        return
    for expression in expressions[1:]:
        yield from _problems(expression, bound | {variable})


def _identifier(tree: Any) -> str | None:
    """The name in an expression that is nothing but a name."""
    while _is_tree(tree) and len(tree.children) == 1:
        if tree.data == "ident":
            return str(tree.children[0].value)
        tree = tree.children[0]
    return None


def _is_tree(node: Any) -> bool:
    return isinstance(node, lark.Tree)


def _known_function(name: str) -> bool:
    # The table has operators too, under names like "_in_".
    return name in base_functions and name[0].isalpha() and name not in _REFUSED_FUNCTIONS
