"""The one place that touches cel-python: compiling and evaluating rule conditions.

The engine is kept on a short lead, because it is more forgiving than CEL is:

* a condition matches only on the exact CEL value ``true``, nothing merely truthy;
* a string is never taken for a list, neither by ``in``, ``contains`` and indexes nor by the macros;
* a bool is never taken for a number;
* only declared variables and known functions compile, and only to a bounded depth;
* a missing member is told from every other failure, and a missing claim from what a request does not have.

Only the interpreted runner is used: the compiled one of 0.5.0 gives wrong answers
for ``!has(...)`` and mixes threads up.
"""

import contextlib
import re
import time
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
MAX_DECISION_SECONDS = 0.08
"""CPU time for all rules of one decision. 200 usual rules take half of it."""

# What the grammar puts between an expression and its only operand.
_PASSED_THROUGH = frozenset(
    {"expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary", "member"}
)
_MACROS = frozenset({"map", "filter", "all", "exists", "exists_one"})
_PLAIN_LITERAL = re.compile(r"""(?:"[^"\\\n]*"|'[^'\\\n]*')""")
_TEXT_TESTS = frozenset({"contains", "startsWith", "endsWith", "matches"})
_SPECIAL_FORMS = frozenset({"has", "dyn"})
# duration() takes time exponential in a hostile text; timestamps have no use without it. The
# others name types in CEL and convert nothing: here list("ab") would be ["a", "b"].
_REFUSED_FUNCTIONS = frozenset({"duration", "timestamp", "list", "map", "null_type"})


Path = tuple[str, ...]
"""A member of a variable: ``("claims", "act", "sub")`` is ``claims.act.sub``."""


class ExpressionError(ValueError):
    """An expression that cannot be used; the message says where and why."""


class EvaluationError(Exception):
    """An evaluation went wrong. Carries the kind of the failure only, never a value of the claims."""


class MissingMemberError(EvaluationError):
    """The expression selects a member that is not there; what that means is for the kind of rule to say.

    Attributes:
        member: as in ``claims.act.sub``.
        applies: whether a deny rule or a ceiling applies, since what is missing is a claim, and not
            only a member of the request.
    """

    def __init__(self, member: str, *, applies: bool) -> None:
        super().__init__(f"{member} is missing")
        self.member = member
        self.applies = applies


REQUEST_VARIABLES = frozenset({"request", "mcp"})
"""The variables of which a request need not have every member."""


class _MissingMemberError(CELEvalError):  # type: ignore[misc]
    """A member that is not there, as a value of the evaluation.

    A deny rule reads a missing claim as true and a missing member of the request as false, and so
    under ``!`` the other way round. ``applies`` is what an expression comes to under this reading,
    ``applies_negated`` what its negation comes to. ``member``: as in ``claims.act.sub``.
    """

    def __init__(self, member: str, *, applies: bool, applies_negated: bool) -> None:
        super().__init__("no such member", KeyError, None)
        self.member = member
        self.applies = applies
        self.applies_negated = applies_negated


class _Evaluator(Evaluator):  # type: ignore[misc]
    """Evaluates macros as CEL defines them: over lists and maps only, and by bools only."""

    def __init__(self, ast: Any, activation: Any, names: dict[str, Any], budget: "Budget") -> None:
        super().__init__(ast, activation=activation)
        self._names = names
        self._budget = budget

    def visit(self, tree: Any) -> Any:
        return getattr(self, tree.data)(tree)

    _visit_tree = visit

    def literal(self, tree: Any) -> Any:
        try:
            return tree.constant
        except AttributeError:
            # Threads may do this at the same time, and set the same.
            value = super().literal(tree)
            if not isinstance(value, CELEvalError):
                tree.constant = value
            return value

    def primary(self, tree: Any) -> Any:
        # What most of an expression is made of, without the base class's search through packages.
        child = tree.children[0]
        if child.data == "ident":
            return self._names[child.children[0].value]
        if child.data == "literal":
            return self.visit(child)
        return super().primary(tree)

    def relation(self, tree: Any) -> Any:
        # As the base class does it, which spends most of the time on type annotations.
        operator, right = tree.children
        function = _FUNCTIONS[_RELATIONS[operator.data]]
        operands = self.visit(operator.children[0]), self.visit(right)
        try:
            return function(*operands)
        except TypeError:
            return _no_overload("no such overload")

    def member_dot(self, tree: Any) -> Any:
        return self._selected(tree, super().member_dot(tree))

    def member_index(self, tree: Any) -> Any:
        return self._selected(tree, super().member_index(tree))

    def _selected(self, tree: Any, value: Any) -> Any:
        """Say of what a member is missing."""
        if isinstance(value, CELEvalError) and _is_missing(value) and type(value) is CELEvalError:
            of_claims = not tree.of_request
            member = ".".join(_path(tree) or ()) or "a member"
            return _MissingMemberError(member, applies=of_claims, applies_negated=of_claims)
        return value

    def unary(self, tree: Any) -> Any:
        if tree.children[0].data == "unary_not":
            value = self.visit(tree.children[1])
            if isinstance(value, _MissingMemberError):
                return _MissingMemberError(
                    value.member, applies=value.applies_negated, applies_negated=value.applies
                )
            return value if isinstance(value, CELEvalError) else _negated(value)
        return super().unary(tree)

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
        if method.value in _TEXT_TESTS and len(tree.children[2:]) == 1 == len(tree.children[2].children):
            return _FUNCTIONS[method.value](self.visit(receiver), self.visit(tree.children[2].children[0]))
        if method.value not in _MACROS:
            return super().member_dot_arg(tree)
        values = self.visit(receiver)
        if isinstance(values, CELEvalError):
            return values
        if not isinstance(values, celtypes.ListType | celtypes.MapType):
            return _no_overload("a macro needs a list or a map")
        variable, expression = tree.children[2].children
        return _macro(method.value, values, self._each(_identifier(variable) or "", expression))

    def _each(self, variable: str, expression: Any) -> Callable[[Any], Any]:
        # One evaluator for all rounds, with names of its own, so that a variable ends with its macro.
        names = dict(self._names)
        body = _Evaluator(expression, self.activation, names, self._budget)

        def evaluate(value: Any) -> Any:
            self._budget.check()
            names[variable] = value
            try:
                return body.visit(expression)
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
    return _gravest(problems, decisive=decisive) if problems else celtypes.BoolType(not decisive)


def _is_problem(result: Any, wanted: type) -> bool:
    return isinstance(result, CELEvalError) or not isinstance(result, wanted)


def _gravest(problems: list[Any], *, decisive: bool = False) -> CELEvalError:
    """A missing member may be "no match", so whatever else went wrong counts more.

    ``decisive``: True for ``||``, where one missing claim is enough for a deny rule to apply; False for
    ``&&`` and functions, where one member that the request does not have is enough for it not to.
    """
    errors = [entry if isinstance(entry, CELEvalError) else _no_overload("not a bool") for entry in problems]
    for error in errors:
        if not isinstance(error, _MissingMemberError):
            return error
    member = next((error for error in errors if error.applies), errors[0]).member
    applies, negated = [error.applies for error in errors], [error.applies_negated for error in errors]
    if decisive:
        return _MissingMemberError(member, applies=any(applies), applies_negated=all(negated))
    return _MissingMemberError(member, applies=all(applies), applies_negated=any(negated))


def _negated(value: Any) -> Any:
    if not isinstance(value, celtypes.BoolType):
        return _no_overload("not a bool")
    return celtypes.BoolType(not value)


def _is_missing(error: CELEvalError) -> bool:
    return _kind(error) is KeyError


def _kind(error: CELEvalError) -> Any:
    """The Python exception that an error stands for."""
    return error.args[1] if len(error.args) > 1 else None


def _no_overload(text: str) -> CELEvalError:
    return CELEvalError(text, TypeError, None)


def _strict(function: Callable[..., Any], accepts: Callable[..., bool]) -> Callable[..., Any]:
    """``function`` for operands that ``accepts`` takes; errors among them are passed on."""

    def call(*operands: Any) -> Any:
        errors = [operand for operand in operands if isinstance(operand, CELEvalError)]
        if errors:
            return _in_function(errors)
        return function(*operands) if accepts(*operands) else _no_overload("no such overload")

    return call


def _in_function(errors: list[Any]) -> CELEvalError:
    """The error of a function whose operands are errors. Negating its result changes nothing about them."""
    gravest = _gravest(errors)
    if isinstance(gravest, _MissingMemberError):
        applies = all(error.applies or error.applies_negated for error in errors)
        return _MissingMemberError(gravest.member, applies=applies, applies_negated=applies)
    return gravest


def _comparable(left: Any, right: Any) -> bool:
    """Python's bools are numbers; CEL's are not."""
    mixed = isinstance(left, celtypes.BoolType) is not isinstance(right, celtypes.BoolType)
    return not (mixed and isinstance(left, int | float) and isinstance(right, int | float))


def _contained(item: Any, container: Any) -> Any:
    if isinstance(item, celtypes.StringType) and set(map(type, container)) == {celtypes.StringType}:
        # The usual case, compared as Python's texts: ten times faster for thousands of groups.
        return celtypes.BoolType(any(map(str.__str__(item).__eq__, container)))
    return base_functions["_in_"](item, [entry for entry in container if _comparable(item, entry)])


def _has_members(_item: Any, container: Any) -> bool:
    return isinstance(container, celtypes.ListType | celtypes.MapType)


def _indexable(container: Any, index: Any) -> bool:
    if isinstance(container, celtypes.ListType):
        return isinstance(index, celtypes.IntType | celtypes.UintType) and index >= 0
    return isinstance(container, celtypes.MapType)


def _added(left: Any, right: Any) -> Any:
    """Python's concatenation forgets CEL's types."""
    result = base_functions["_+_"](left, right)
    if type(result) is str:
        return celtypes.StringType(result)
    return celtypes.ListType(result) if type(result) is list else result


def _are_texts(*operands: Any) -> bool:
    return all(isinstance(operand, celtypes.StringType) for operand in operands)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_&&_": lambda *operands: _decided(operands, decisive=False),
    "_||_": lambda *operands: _decided(operands, decisive=True),
    "_?_:_": lambda condition, left, right: (
        condition
        if isinstance(condition, CELEvalError)
        else celtypes.logical_condition(condition, left, right)
    ),
    "_+_": _strict(_added, _comparable),
    "_in_": _strict(_contained, _has_members),
    "_[_]": _strict(base_functions["_[_]"], _indexable),
    "size": _strict(base_functions["size"], lambda *operands: None not in operands),
    **{name: _strict(base_functions[name], _are_texts) for name in _TEXT_TESTS},
    **{
        name: _strict(base_functions[name], _comparable)
        for name in ("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_")
    },
}


_RELATIONS = {
    "relation_lt": "_<_",
    "relation_le": "_<=_",
    "relation_ge": "_>=_",
    "relation_gt": "_>_",
    "relation_eq": "_==_",
    "relation_ne": "_!=_",
    "relation_in": "_in_",
}


class Budget:
    """CPU time for one decision; whoever runs out of it gets an ``EvaluationError``.

    CPU time of the evaluating thread and not time on the wall: what a decision may cost must
    not depend on how busy the machine is.
    """

    def __init__(self, seconds: float = MAX_DECISION_SECONDS) -> None:
        self._ends_at = time.thread_time() + seconds

        self._texts: dict[int, tuple[list[Any], frozenset[str]]] = {}

    def texts_in(self, values: list[Any]) -> frozenset[str]:
        """The texts in a list, told once for all rules of the decision."""
        known = self._texts.get(id(values))
        if known is None:
            texts = frozenset(str.__str__(value) for value in values if isinstance(value, str))
            known = self._texts[id(values)] = values, texts  # holds the list, so that its id stays its own
        return known[1]

    def check(self) -> None:
        """Raise if the budget is spent."""
        if time.thread_time() > self._ends_at:
            raise EvaluationError("too costly")


class _Runner(celpy.InterpretedRunner):  # type: ignore[misc]
    def evaluate(self, context: Mapping[str, Any], budget: Budget | None = None) -> Any:
        evaluator = _Evaluator(self.ast, self.new_activation(), dict(context), budget or Budget())
        result = evaluator.visit(self.ast)
        if isinstance(result, CELEvalError):
            raise result
        return result


@dataclass(frozen=True, slots=True)
class _Expression:
    """A compiled expression. Safe to evaluate from several threads: each evaluation has its own evaluator.

    ``reads``: the members it may read, each as a path that begins with the variable.
    """

    source: str
    reads: frozenset[Path]
    constant: bool | None  # the result, if it is a bool that no input can change
    _program: Any = field(repr=False, compare=False)

    def _evaluate(self, variables: Mapping[str, Any], budget: Budget | None) -> Any:
        try:
            return self._program.evaluate(variables, budget)
        except CELEvalError as error:
            kind = _kind(error)
            if kind is KeyError:
                member = getattr(error, "member", "a member")
                raise MissingMemberError(member, applies=getattr(error, "applies", True)) from None
            raise EvaluationError(getattr(kind, "__name__", "error")) from None
        except EvaluationError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it means "cannot tell"
            raise EvaluationError(type(error).__name__) from None


@dataclass(frozen=True, slots=True)
class Condition(_Expression):
    """An expression that is to be true or false."""

    def matches(self, variables: Mapping[str, Any], budget: Budget | None = None) -> bool:
        """Whether the expression is exactly ``true`` for these variables (made by ``to_cel``).

        Raises:
            MissingMemberError: it cannot be told, since a member is not there.
            EvaluationError: for every other failure.
        """
        result = self._evaluate(variables, budget)
        if not isinstance(result, celtypes.BoolType):
            raise EvaluationError("the result is not a bool")
        return bool(result)


@dataclass(frozen=True, slots=True)
class Text(_Expression):
    """An expression that is to be a text."""

    def value(self, variables: Mapping[str, Any], budget: Budget | None = None) -> str:
        """The text that the expression gives for these variables (made by ``to_cel``).

        Raises:
            EvaluationError: for every failure, a missing member among them.
        """
        result = self._evaluate(variables, budget)
        if not isinstance(result, celtypes.StringType):
            raise EvaluationError("the result is not a text")
        return str(result)


def compile_condition(source: str, *, variables: frozenset[str]) -> Condition:
    """Compile a boolean expression over the declared variables.

    Raises:
        ExpressionError: syntax, an undeclared variable, an unknown or refused function.
    """
    program, reads = _compile(source, variables)
    constant = None
    if not reads:
        with contextlib.suppress(EvaluationError):
            constant = Condition(source, reads, None, program).matches({})
    return Condition(source, reads, constant, program)


def compile_text(source: str, *, variables: frozenset[str]) -> Text:
    """Compile an expression that gives a text; raises ``ExpressionError`` like ``compile_condition``."""
    program, reads = _compile(source, variables)
    return Text(source, reads, None, program)


def _compile(source: str, variables: frozenset[str]) -> tuple[Any, frozenset[Path]]:
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
        tree = _collapsed(tree)
        _mark(tree, {})
        program = environment.program(tree, functions=_FUNCTIONS)
    except celpy.CELParseError as error:
        where = f"line {error.line}, column {error.column}: " if error.line else ""
        raise ExpressionError(f"{where}not a CEL expression") from None
    except RecursionError:
        raise ExpressionError("nested too deeply") from None
    return program, frozenset(_reads(tree, variables))


def _collapsed(tree: Any) -> Any:
    """The tree without nodes that only pass their one child on: a third of the time to evaluate."""
    while tree.data in _PASSED_THROUGH and len(tree.children) == 1 and _is_tree(tree.children[0]):
        tree = tree.children[0]
    children = [_collapsed(child) if _is_tree(child) else child for child in tree.children]
    return lark.Tree(str(tree.data), children, tree.meta)


def _mark(tree: Any, bound: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Mark each selection that depends on the request alone; return the variables that a tree depends on.

    ``bound``: what the macros' own variables depend on.
    """
    if tree.data == "ident":
        name = str(tree.children[0].value)
        return bound.get(name, frozenset({name}))
    if tree.data == "member_dot_arg" and tree.children[1].value in _MACROS:
        receiver, _, arguments = tree.children
        depends = _mark(receiver, bound)
        name = _identifier(arguments.children[0]) or ""
        return depends | _mark(arguments.children[1], {**bound, name: depends})
    depends = frozenset().union(*(_mark(child, bound) for child in tree.children if _is_tree(child)))
    if tree.data in ("member_dot", "member_index"):
        tree.of_request = bool(depends) and depends <= REQUEST_VARIABLES
    return depends


def _reads(tree: Any, variables: frozenset[str]) -> Iterator[Path]:
    """Which members of the variables an expression may read; where that cannot be told, all of a member."""
    path = _path(tree)
    if path is not None:
        # A macro's own variable may shadow one of ours; counting it as read does no harm.
        if path[0] in variables:
            yield path
        return
    for child in tree.children:
        if _is_tree(child):
            yield from _reads(child, variables)


def _path(tree: Any) -> Path | None:
    """``a.b["c"]`` as ``("a", "b", "c")``; None for everything else."""
    name = _identifier(tree)
    if name is not None:
        return (name,)
    node = tree
    while node.data not in ("member_dot", "member_index"):
        if len(node.children) != 1 or not _is_tree(node.children[0]) or node.data == "list_lit":
            return None
        node = node.children[0]
    operand = _path(node.children[0])
    if node.data == "member_dot":
        member = str(node.children[1].value)
    else:
        literal = _only(node.children[1], "literal")
        text = literal.children[0].value if literal is not None else ""
        # Escapes would have to be undone; whoever writes them gets the whole member read.
        if not _PLAIN_LITERAL.fullmatch(text):
            return None
        member = text[1:-1]
    return None if operand is None else (*operand, member)


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
