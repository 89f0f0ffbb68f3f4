"""The one place that touches cel-python: compiling and evaluating rule conditions.

The engine is kept on a short lead, because it is more forgiving than CEL is:

* a condition matches only on the exact CEL value ``true``, nothing merely truthy;
* a string is never taken for a list, neither by ``in``, ``contains`` and indexes nor by the macros;
* a bool is never taken for a number;
* only declared variables and known functions compile, and only to a bounded depth;
* a missing member means "no match"; any other failure is an error that denies.

Only the interpreted runner is used: the compiled one of 0.5.0 gives wrong answers
for ``!has(...)`` and mixes threads up.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import celpy
import lark
from celpy import celtypes
from celpy.evaluation import CELEvalError, Evaluator, base_functions

MAX_EXPRESSION_LENGTH = 4096
# In levels of the grammar, of which a parenthesis takes ten and one more "||" of a chain one. Evaluation
# takes up to five Python frames a level, and Python has a thousand.
MAX_EXPRESSION_DEPTH = 150
_MACROS = frozenset({"map", "filter", "all", "exists", "exists_one"})
_SPECIAL_FORMS = frozenset({"has", "dyn"})
# duration() takes time exponential in a hostile text; timestamps have no use without it. The
# others name types in CEL and convert nothing: here list("ab") would be ["a", "b"].
_REFUSED_FUNCTIONS = frozenset({"duration", "timestamp", "list", "map", "null_type"})


class ExpressionError(ValueError):
    """An expression that cannot be used; the message says where and why."""


class EvaluationError(Exception):
    """An evaluation went wrong. Carries the kind of the failure only, never a value of the claims."""


class _Evaluator(Evaluator):  # type: ignore[misc]
    """Evaluates macros as CEL defines them: over lists and maps only, and by bools only."""

    def sub_evaluator(self, ast: Any) -> "_Evaluator":
        # The base class falls back to itself inside macros.
        return _Evaluator(ast, activation=self.activation)

    def macro_has_eval(self, exprlist: Any) -> Any:
        # The base class answers "no" to every error, so that !has() is true for a wrong type.
        operand, name = _selection(exprlist.children[0]).children
        value = self.visit(operand)
        if isinstance(value, CELEvalError):
            return value
        if not isinstance(value, celtypes.MapType):
            return _no_overload("has() needs a member of a map")
        return celtypes.BoolType(name.value in value)

    def member_dot_arg(self, tree: Any) -> Any:
        receiver, method = tree.children[:2]
        if method.value not in _MACROS:
            return super().member_dot_arg(tree)
        values = self.visit(receiver)
        if isinstance(values, CELEvalError):
            return values
        if not isinstance(values, celtypes.ListType | celtypes.MapType):
            return _no_overload("a macro needs a list or a map")
        variable, expression = tree.children[2].children
        body = self.sub_evaluator(expression)
        return _macro(method.value, values, _each(body, _identifier(variable)))


def _each(body: _Evaluator, variable: str | None) -> Callable[[Any], Any]:
    def evaluate(value: Any) -> Any:
        try:
            return body.evaluate({variable: value})
        except CELEvalError as error:
            return error

    return evaluate


def _macro(name: str, values: Iterable[Any], each: Callable[[Any], Any]) -> Any:
    if name in ("all", "exists"):
        return _decided(map(each, values), decisive=name == "exists")
    values = list(values)
    results = [each(value) for value in values]
    wanted = object if name == "map" else celtypes.BoolType
    problems = [result for result in results if _is_problem(result, wanted)]
    if problems:
        return _gravest(problems)
    if name == "map":
        return celtypes.ListType(results)
    kept = [value for value, result in zip(values, results, strict=True) if result]
    return celtypes.ListType(kept) if name == "filter" else celtypes.BoolType(len(kept) == 1)


def _decided(results: Iterable[Any], *, decisive: bool) -> Any:
    """``&&`` and ``||`` over any number of operands: one decisive bool outweighs every error."""
    problems = []
    for result in results:
        if _is_problem(result, celtypes.BoolType):
            problems.append(result)
        elif bool(result) is decisive:
            return result
    return _gravest(problems) if problems else celtypes.BoolType(not decisive)


def _is_problem(result: Any, wanted: type) -> bool:
    return isinstance(result, CELEvalError) or not isinstance(result, wanted)


def _gravest(problems: list[Any]) -> CELEvalError:
    """A missing member is only "no match", so whatever else went wrong counts more."""
    errors = [entry if isinstance(entry, CELEvalError) else _no_overload("not a bool") for entry in problems]
    return next((error for error in errors if _kind(error) is not KeyError), errors[0])


def _kind(error: CELEvalError) -> Any:
    """The Python exception that an error stands for."""
    return error.args[1] if len(error.args) > 1 else None


def _no_overload(text: str) -> CELEvalError:
    return CELEvalError(text, TypeError, None)


def _strict(function: Callable[..., Any], accepts: Callable[..., bool]) -> Callable[..., Any]:
    """``function`` for operands that ``accepts`` takes; errors among them are passed on."""

    def call(*operands: Any) -> Any:
        for operand in operands:
            if isinstance(operand, CELEvalError):
                return operand
        return function(*operands) if accepts(*operands) else _no_overload("no such overload")

    return call


def _comparable(left: Any, right: Any) -> bool:
    """Python's bools are numbers; CEL's are not."""
    mixed = isinstance(left, celtypes.BoolType) is not isinstance(right, celtypes.BoolType)
    return not (mixed and isinstance(left, int | float) and isinstance(right, int | float))


def _contained(item: Any, container: Any) -> Any:
    return base_functions["_in_"](item, [entry for entry in container if _comparable(item, entry)])


def _has_members(_item: Any, container: Any) -> bool:
    return isinstance(container, celtypes.ListType | celtypes.MapType)


def _indexable(container: Any, index: Any) -> bool:
    if isinstance(container, celtypes.ListType):
        return isinstance(index, celtypes.IntType | celtypes.UintType) and index >= 0
    return isinstance(container, celtypes.MapType)


def _are_texts(*operands: Any) -> bool:
    return all(isinstance(operand, celtypes.StringType) for operand in operands)


_FUNCTIONS = {
    "_&&_": lambda *operands: _decided(operands, decisive=False),
    "_||_": lambda *operands: _decided(operands, decisive=True),
    "_?_:_": lambda condition, left, right: (
        condition
        if isinstance(condition, CELEvalError)
        else celtypes.logical_condition(condition, left, right)
    ),
    "_in_": _strict(_contained, _has_members),
    "_[_]": _strict(base_functions["_[_]"], _indexable),
    "size": _strict(base_functions["size"], lambda *operands: None not in operands),
    **{name: _strict(base_functions[name], _are_texts) for name in ("contains", "startsWith", "endsWith")},
    **{
        name: _strict(base_functions[name], _comparable)
        for name in ("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_")
    },
}


class _Runner(celpy.InterpretedRunner):  # type: ignore[misc]
    def evaluate(self, context: Mapping[str, Any]) -> Any:
        return _Evaluator(ast=self.ast, activation=self.new_activation()).evaluate(context)


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
            kind = _kind(error)
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
        if _nested_too_deeply(tree):
            raise ExpressionError("nested too deeply")
        for problem in _problems(tree, variables):
            raise ExpressionError(problem)
        program = environment.program(tree, functions=_FUNCTIONS)
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
    if tree.data in ("member_object", "dot_ident", "dot_ident_arg"):
        yield "messages and absolute names are not supported"
    elif tree.data == "member_dot_arg":
        name = tree.children[1]
        if not _known_function(name.value):
            yield f"column {name.column}: unknown function {name.value!r}"
    elif tree.data == "ident_arg":
        name, arguments = (*tree.children, None)[:2]
        if not (_known_function(name.value) or name.value in _SPECIAL_FORMS):
            yield f"column {name.column}: unknown function {name.value!r}"
        elif name.value == "has" and not _has_one_selection(arguments):
            yield f"column {name.column}: has() needs one member, as in has(claims.groups)"


def _macro_problems(tree: Any, bound: frozenset[str]) -> Iterator[str]:
    receiver, name, arguments = (*tree.children, None)[:3]
    yield from _problems(receiver, bound)
    expressions = arguments.children if _is_tree(arguments) else []
    variable = _identifier(expressions[0]) if expressions else None
    if variable is None:
        yield f"column {name.column}: {name.value}() needs a variable name first"
        return
    if len(expressions) != 2:  # noqa: PLR2004 - the variable and one expression
        yield f"column {name.column}: {name.value}() needs one expression after the variable name"
    for expression in expressions[1:]:
        yield from _problems(expression, bound | {variable})


def _has_one_selection(arguments: Any) -> bool:
    return _is_tree(arguments) and len(arguments.children) == 1 and _selection(arguments) is not None


def _selection(tree: Any) -> Any:
    """The ``operand.name`` in an expression that is nothing but that."""
    return _only(tree, "member_dot")


def _identifier(tree: Any) -> str | None:
    """The name in an expression that is nothing but a name."""
    identifier = _only(tree, "ident")
    return None if identifier is None else str(identifier.children[0].value)


def _only(tree: Any, data: str) -> Any:
    """The first node of a kind in an expression that is nothing but that."""
    while _is_tree(tree) and tree.data != data:
        tree = tree.children[0] if len(tree.children) == 1 else None
    return tree if _is_tree(tree) else None


def _nested_too_deeply(tree: Any) -> bool:
    """Walk level by level, so that hostile nesting costs no recursion."""
    level = [tree]
    for _ in range(MAX_EXPRESSION_DEPTH):
        level = [child for node in level for child in node.children if _is_tree(child)]
        if not level:
            return False
    return True


def _is_tree(node: Any) -> bool:
    return isinstance(node, lark.Tree)


def _known_function(name: str) -> bool:
    # The table has operators too, under names like "_in_".
    return name in base_functions and name[0].isalpha() and name not in _REFUSED_FUNCTIONS
