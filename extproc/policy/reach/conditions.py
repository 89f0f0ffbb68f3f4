"""Conditions as formulas over atoms."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from extproc.policy.cel import BoolExpression, Budget, EvaluationError, ExpressionError, Path
from extproc.policy.cel.compiler import Compiler
from extproc.policy.cel.syntax import Tree, arguments, is_tree, literal_of, parse, path_of, reads
from extproc.policy.matchers import VARIABLES, ClaimContains, Matcher

_MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
_NOT_STRICT = frozenset({"conditionalor", "conditionaland", "expr"})
_CALLS = frozenset({"ident_arg", "dot_ident_arg"})
_ORDER = {
    "relation_lt": ("lt", False),
    "relation_ge": ("lt", True),
    "relation_le": ("le", False),
    "relation_gt": ("le", True),
}
"""``x >= 3`` is ``!(x < 3)``: both are errors for the same values."""
_MIRRORED = {
    "relation_lt": "relation_gt",
    "relation_gt": "relation_lt",
    "relation_le": "relation_ge",
    "relation_ge": "relation_le",
}
_STRING_TESTS = frozenset({"startsWith", "endsWith", "contains"})

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Equals:
    """``path == constant``. ``constant``: its kind and value."""

    path: Path
    constant: Key


@dataclass(frozen=True, slots=True)
class Has:
    """``has(path)``."""

    path: Path


@dataclass(frozen=True, slots=True)
class Other:
    """Any other test, of which only what it reads is known.

    Attributes:
        key: equal for equal expressions, however they are spelt.
        reads: the members that it may read.
        strict: whether a missing member of ``reads`` always keeps it from having a result.
        path: the only member that it reads, if nothing else can be missing; otherwise None.
        test: function and constant if it is an order, a string test or a membership test of ``path``.
        tree: for ``result_at``.
    """

    key: Key
    reads: frozenset[Path] = field(compare=False)
    strict: bool = field(compare=False)
    path: Path | None = field(compare=False)
    test: tuple[str, Any] | None = field(compare=False)
    tree: Tree = field(compare=False, repr=False)


Atom = Equals | Has | Other


@dataclass(frozen=True, slots=True)
class Formula:
    """``&&``, ``||`` or ``!`` of other formulas, or one atom, or ``true``, which is ``&&`` of nothing."""

    operator: str
    operands: tuple["Formula", ...] = ()
    atom: Atom | None = None

    def atoms(self) -> Iterator[Atom]:
        """Yield the atoms in reading order."""
        if self.atom is not None:
            yield self.atom
        for operand in self.operands:
            yield from operand.atoms()


TRUE = Formula("&&")
FALSE = Formula("||")


def formula_of(matcher: Matcher) -> Formula:
    """Return the formula of a condition.

    The short form ``claim`` counts as ``value in claims.name``. The two differ for a role claim that is a
    map, where the short form is an error, and an error ends the search as a match does.
    """
    if isinstance(matcher, ClaimContains):
        path = ("claims", matcher.claim)
        return _atom(_contains(path, ("string", matcher.value)))
    assert isinstance(matcher, BoolExpression)  # noqa: S101 - there is no other kind
    return _formula_of_source(matcher.source)


@lru_cache(maxsize=1024)
def _formula_of_source(source: str) -> Formula:
    return _formula(parse(source))


def _formula(tree: Tree) -> Formula:
    if tree.data in ("conditionaland", "conditionalor"):
        operator = "&&" if tree.data == "conditionaland" else "||"
        return Formula(operator, tuple(map(_formula, tree.children)))
    if tree.data == "unary" and tree.children[0].data == "unary_not":
        return Formula("!", (_formula(tree.children[1]),))
    constant = _constant(tree)
    if constant is not None and type(constant[1]) is bool:
        return TRUE if constant[1] else FALSE
    if tree.data == "relation":
        return _relation(tree)
    if tree.data in _CALLS and str(tree.children[0].value) == "has":
        path = path_of(arguments(tree)[0])
        if path is not None and path[0] in VARIABLES:
            return _atom(Has(path))
    return _atom(_other(tree))


def _atom(atom: Atom) -> Formula:
    return Formula("", atom=atom)


def _relation(tree: Tree) -> Formula:
    operator, right = tree.children
    left, name = operator.children[0], str(operator.data)
    if name == "relation_ne":
        return Formula("!", (_equality(left, right, tree),))
    if name == "relation_eq":
        return _equality(left, right, tree)
    if name == "relation_in":
        return _membership(left, right, tree)
    if _path(right) is not None and _path(left) is None:
        left, right, name = right, left, _MIRRORED[name]
    test, negated = _ORDER[name]
    path, constant = _path(left), _constant(right)
    known = (test, constant[1]) if path is not None and constant and constant[0] == "number" else None
    key = (test, _canonical(left), _canonical(right))
    atom = _atom(_other(tree, key=key, test=known, negated=negated))
    return Formula("!", (atom,)) if negated else atom


def _equality(left: Tree, right: Tree, tree: Tree) -> Formula:
    for one, other in ((left, right), (right, left)):
        path, constant = _path(one), _constant(other)
        if path is not None and constant is not None:
            return _atom(Equals(path, constant))
    sides = tuple(sorted((_canonical(left), _canonical(right)), key=repr))
    negated = tree.children[0].data == "relation_ne"
    empty = any(side.data == "list_lit" and not arguments(side) for side in (left, right))
    test = ("empty", None) if empty else None
    return _atom(_other(tree, key=("eq", *sides), test=test, negated=negated))


def _membership(item: Tree, container: Tree, tree: Tree) -> Formula:
    path, constant = _path(container), _constant(item)
    if path is not None and constant is not None and constant[0] == "string":
        if path in (("claims",), ("request",), ("mcp",)):
            return _atom(Has((*path, constant[1])))
        return _atom(_contains(path, constant))
    path = _path(item)
    if path is not None and container.data == "list_lit" and arguments(container):
        constants = [_constant(entry) for entry in arguments(container)]
        if None not in constants:
            return Formula("||", tuple(_atom(Equals(path, entry)) for entry in constants if entry))
    return _atom(_other(tree))


def _contains(path: Path, constant: Key) -> Other:
    return Other(("in", path, constant), frozenset({path}), True, path, ("in", constant[1]), None)  # noqa: FBT003


def _other(
    tree: Tree, *, key: Key | None = None, test: tuple[str, Any] | None = None, negated: bool = False
) -> Other:
    read = frozenset(reads(tree, VARIABLES))
    strict = _is_strict(tree)
    path = next(iter(read)) if strict and len(read) == 1 and _is_plain(tree) else None
    if tree.data == "member_dot_arg" and str(tree.children[1].value) in _STRING_TESTS:
        constant = _constant(arguments(tree)[0])
        if _path(tree.children[0]) is not None and constant and constant[0] == "string":
            test = (str(tree.children[1].value), constant[1])
    return Other(key or _canonical(tree), read, strict, path, test, ("!", tree) if negated else tree)


def _path(tree: Tree) -> Path | None:
    path = path_of(tree)
    return path if path is not None and path[0] in VARIABLES else None


def _constant(tree: Tree) -> Key | None:
    """Return the kind and the value of a scalar literal, equal for values that CEL takes for equal."""
    if tree.data not in ("literal", "unary"):
        return None
    try:
        code, _ = Compiler(frozenset()).compile(tree)
    except ExpressionError:
        return None
    return _constant_key(code.constant) if code.is_constant else None


def _constant_key(value: Any) -> Key:
    if isinstance(value, bool) or value is None:
        return "constant", value
    kind = "string" if isinstance(value, str) else "bytes" if isinstance(value, bytes) else "number"
    return kind, value


def _is_strict(tree: Tree) -> bool:
    """Return whether all parts are evaluated, and an error of one is an error of the whole."""
    for node in tree.iter_subtrees():
        name = str(node.children[0].value) if node.data in _CALLS else ""
        name = str(node.children[1].value) if node.data == "member_dot_arg" else name
        if node.data in _NOT_STRICT or name == "has" or name in _MACROS:
            return False
    return True


def _is_plain(tree: Tree) -> bool:
    """Return whether members are selected by names from variables only."""
    if path_of(tree) is not None:
        return True
    if tree.data in ("member_dot", "member_index"):
        return False
    return all(_is_plain(child) for child in tree.children if is_tree(child))


def _canonical(tree: Tree) -> Key:
    """Return a form that is equal for trees of one meaning, whatever their spaces and quotes."""
    path = path_of(tree)
    if path is not None:
        root = tree
        while root.data in ("member_dot", "member_index"):
            root = root.children[0]
        return ("path", str(root.data), path)  # a macro's variable hides "claims", but not ".claims"
    if tree.data == "literal":
        value = literal_of(tree)
        return ("literal", type(value).__name__, repr(value))
    return (str(tree.data), *(_canonical(c) if is_tree(c) else str(c) for c in tree.children))


@lru_cache(maxsize=4096, typed=True)
def result_at(atom: Other, path: Path, value: Any) -> bool | None:
    """Return the result of a test that reads only ``path`` for a scalar value; None for an error."""
    if atom.tree is None:
        return None  # "in": a scalar is no container
    negated, tree = (True, atom.tree[1]) if isinstance(atom.tree, tuple) else (False, atom.tree)
    variables: dict[str, Any] = {name: {} for name in VARIABLES}
    nested = value
    for name in reversed(path[1:]):
        nested = {name: nested}
    variables[path[0]] = nested
    compiler = Compiler(VARIABLES)
    code, slots = compiler.compile(tree)
    frame: list[Any] = [None] * compiler.frame_size
    frame[0] = Budget()
    for name, slot in slots.items():
        frame[slot] = variables[name]
    try:
        result = code.run(frame)
    except EvaluationError:
        return None
    return (result is not negated) if type(result) is bool else None
