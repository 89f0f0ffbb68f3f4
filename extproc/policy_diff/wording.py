"""Results of atoms in words: ``with "dev" in claims.groups and without claims.act``."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from extproc.policy.cel import Path, shown
from extproc.policy.cel.operations import REQUEST_VARIABLES
from extproc.policy.cel.syntax import Tree, arguments, is_tree
from extproc.policy.reach.conditions import Other
from extproc.policy.reach.variables import Member, Result, State, Value, Variable
from extproc.policy.validity import Validity
from extproc.policy_diff.entries import is_beside, period_of, scope_of
from extproc.policy_diff.witness import Cube, fits

_SYMBOLS = {
    "relation_lt": "<", "relation_le": "<=", "relation_gt": ">", "relation_ge": ">=", "relation_eq": "==",
    "relation_ne": "!=", "relation_in": "in", "addition_add": "+", "addition_sub": "-",
    "multiplication_mul": "*", "multiplication_div": "/", "multiplication_mod": "%",
}  # fmt: skip
_OPPOSITES = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_CHAINS = {"conditionalor": " || ", "conditionaland": " && "}
_BRACED = frozenset({"expr", "relation", "addition", "multiplication", *_CHAINS})
_RESULTS: frozenset[Value] = frozenset({Result.TRUE, Result.FALSE})
_GONE = frozenset({State.ABSENT, State.NO_PARENT})


def described(cube: Cube, domains: Mapping[Variable, tuple[Value, ...]]) -> str:
    """Return what the tokens and requests with these results are.

    Args:
        cube: the results.
        domains: all possible results of the variables.
    """
    cube = {variable: _possible(variable, values, cube) for variable, values in cube.items()}
    told = {variable: values for variable, values in cube.items() if not _is_implied(variable, cube, domains)}
    phrases = sorted(_phrase(variable, values, domains[variable]) for variable, values in told.items())
    requests = any(_is_of_request(variable) for variable in told)
    return f"{'requests' if requests else 'users'} {' and '.join(phrases)}"


def _possible(variable: Variable, values: frozenset[Value], cube: Cube) -> frozenset[Value]:
    """Return the values that the results of the other variables leave."""
    others = [(v, there) for v, there in cube.items() if v is not variable]
    if any(_has_result(v, there) and _path(v) == _path(variable) for v, there in others):
        values = frozenset(each for each in values if each in _RESULTS or isinstance(variable, Member))
    return frozenset(
        value
        for value in values
        if all(any(fits(variable, value, v, x) for x in there) for v, there in others)
    )


def _has_result(variable: Variable, values: frozenset[Value]) -> bool:
    """Return whether the only member that a test reads is there."""
    return isinstance(variable, Other) and variable.path is not None and values <= _RESULTS


def _path(variable: Variable) -> Path | None:
    return variable.path


def _is_implied(variable: Variable, cube: Cube, domains: Mapping[Variable, tuple[Value, ...]]) -> bool:
    """Return whether the other results leave no other ones than these."""
    if not isinstance(variable, Member):
        return False
    return not _possible(variable, frozenset(domains[variable]) - cube[variable], cube)


def _is_of_request(variable: Variable) -> bool:
    paths = [variable.path] if isinstance(variable, Member) else variable.reads
    return any(path[0] in REQUEST_VARIABLES for path in paths)


def _phrase(variable: Variable, values: frozenset[Value], domain: tuple[Value, ...]) -> str:  # noqa: PLR0911 - one line for each set of results
    if isinstance(variable, Member):
        return _of_member(variable, values, domain)
    scope = scope_of(variable)
    if scope is not None:
        return f"{'with' if Result.TRUE in values else 'without'} scope {scope}"
    if is_beside(variable):
        period, is_true = period_of(variable), Result.TRUE in values
        if period is None:
            return "with a reason for break-glass" if is_true else "without a reason for break-glass"
        return f"{'in' if is_true else 'outside'} the period {_period(period)}"
    if Result.TRUE in values and Result.FALSE in values:
        return f"where {source(variable)} is no error"
    if Result.TRUE in values:
        return (
            f"with {source(variable)}"
            if values == {Result.TRUE}
            else f"unless {source(variable, negated=True)}"
        )
    if values == {Result.FALSE}:
        return f"with {source(variable, negated=True)}"
    if Result.FALSE in values:
        return f"unless {source(variable)}"
    if values == {Result.ERROR}:
        return f"where {source(variable)} is an error"
    return f"without {' or '.join(shown(path) for path in sorted(variable.reads))}"


def _period(period: Validity) -> str:
    times = [("from", period.begins_at), ("until", period.ends_at)]
    return " ".join(
        f"{word} {datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for word, at in times if at is not None
    )


def _of_member(variable: Member, values: frozenset[Value], domain: tuple[Value, ...]) -> str:
    name = shown(variable.path)
    states = {value for value in values if isinstance(value, State)}
    constants = [value for value in domain if isinstance(value, tuple)]
    wanted = [_constant(value) for value in constants if value in values]
    unwanted = [_constant(value) for value in constants if value not in values]
    if State.OTHER not in states:
        if wanted and not states:
            return (
                f"with {name} == {wanted[0]}" if len(wanted) == 1 else f"with {name} in [{', '.join(wanted)}]"
            )
        if states == {State.ERROR}:
            return f"where what has {name} is no map"
        return f"without {name}" if not wanted else f"without {name}, or with {', '.join(wanted)} in it"
    test = f"{name} {'==' if len(unwanted) == 1 else 'in'} " + (
        unwanted[0] if len(unwanted) == 1 else f"[{', '.join(unwanted)}]"
    )
    if states & _GONE:
        return f"unless {test}" if unwanted else f"where what has {name} is a map"
    if not unwanted:
        return f"with {name}"
    return (
        f"with {name} != {unwanted[0]}"
        if len(unwanted) == 1
        else f"with {name} not in [{', '.join(unwanted)}]"
    )


def _constant(value: Any) -> str:
    kind, constant = value
    return repr(constant) if kind in ("number", "bytes") else json.dumps(constant, ensure_ascii=False)


def source(atom: Other, *, negated: bool = False) -> str:
    """Return an atom, or its negation, as an expression."""
    tree = atom.tree
    if tree is None:
        test = f"{json.dumps(atom.test[1] if atom.test else '', ensure_ascii=False)} in {shown(atom.key[1])}"
        return f"!({test})" if negated else test
    if isinstance(tree, tuple):  # an atom that is the negation of the expression
        tree, negated = tree[1], not negated
    if not negated:
        return _text(tree)
    if tree.data == "relation":
        operator = _SYMBOLS[str(tree.children[0].data)]
        if operator in _OPPOSITES:
            left, right = tree.children[0].children[0], tree.children[1]
            return f"{_inner(left)} {_OPPOSITES[operator]} {_inner(right)}"
    return f"!({_text(tree)})"


def _text(tree: Tree) -> str:  # noqa: PLR0911 - one line for each kind of node
    kind, children = str(tree.data), tree.children
    if kind in _CHAINS:
        return _CHAINS[kind].join(map(_inner, children))
    if kind == "expr":
        condition, yes, no = map(_inner, children)
        return f"{condition} ? {yes} : {no}"
    if kind in ("relation", "addition", "multiplication"):
        operator, right = children
        return f"{_inner(operator.children[0])} {_SYMBOLS[str(operator.data)]} {_inner(right)}"
    if kind == "unary":
        return f"{'!' if str(children[0].data) == 'unary_not' else '-'}{_inner(children[1])}"
    if kind == "list_lit":
        return f"[{_listed(tree)}]"
    if kind == "map_lit":
        flat = list(map(_text, arguments(tree)))
        return "{" + ", ".join(f"{k}: {v}" for k, v in zip(flat[::2], flat[1::2], strict=True)) + "}"
    if kind == "member_dot":
        return f"{_inner(children[0])}.{children[1].value}"
    if kind == "member_dot_arg":
        return f"{_inner(children[0])}.{children[1].value}({_listed(tree)})"
    if kind == "member_index":
        return f"{_inner(children[0])}[{_text(children[1])}]"
    name = "".join(child.value for child in children if not is_tree(child))
    call = f"({_listed(tree)})" if kind.endswith("_arg") else ""
    return ("." if kind.startswith("dot_") else "") + name + call


def _listed(tree: Tree) -> str:
    return ", ".join(map(_text, arguments(tree)))


def _inner(tree: Tree) -> str:
    return f"({_text(tree)})" if str(tree.data) in _BRACED else _text(tree)
