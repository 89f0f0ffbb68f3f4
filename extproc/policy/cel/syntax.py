"""Parse source to a syntax tree with cel-python's grammar.

Only the grammar is used. Of cel-python's two evaluators the compiled one of 0.5.0 is wrong for
``!has(...)`` and mixes threads up, and the interpreted one is more forgiving than CEL in
conversions, arithmetic, equality and escapes.
"""

import functools
from collections.abc import Iterator
from typing import Any

import lark

from extproc.policy.cel import grammar
from extproc.policy.cel.errors import ExpressionError, Path
from extproc.policy.cel.literals import literal
from extproc.policy.cel.values import MAX_INT

MAX_EXPRESSION_LENGTH = 10_000
"""Characters, as in ToolHive."""
MAX_EXPRESSION_DEPTH = 192
"""Levels of the tree. An operator, call, list or map takes two; parentheses and further ``&&`` take none."""

_PASSED_THROUGH = frozenset(
    {
        "expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary",
        "member", "primary", "paren_expr",
    }
)  # fmt: skip
"""Nodes that the grammar puts between an expression and its only operand."""
_CHAINS = frozenset({"conditionalor", "conditionaland"})
_BEFORE_ARGUMENTS = {"list_lit": 0, "map_lit": 0, "ident_arg": 1, "dot_ident_arg": 1, "member_dot_arg": 2}
"""Children of a node before its argument list, which is missing where it is empty."""

Tree = Any
"""A ``lark.Tree``, which has no type hints. Leaves are tokens."""


def parse(source: str) -> Tree:
    """Return the tree of an expression without nodes that only wrap one child.

    A chain of ``&&`` or ``||`` becomes one node with many children.

    Raises:
        ExpressionError: invalid syntax, too long, or nested too deeply.
    """
    if len(source) > MAX_EXPRESSION_LENGTH:
        raise ExpressionError(f"longer than {MAX_EXPRESSION_LENGTH} characters")
    try:
        tree = _parser().parse(source)
    except lark.exceptions.LarkError as error:
        line, column = getattr(error, "line", 0), getattr(error, "column", 0)
        where = f"line {line}, column {column}: " if line and line > 0 else ""
        raise ExpressionError(f"{where}not a CEL expression") from None
    tree = _collapsed(tree)
    if _nested_too_deeply(tree):
        raise ExpressionError("nested too deeply")
    return tree


@functools.cache
def _parser() -> lark.Lark:
    return grammar.parser()


def is_tree(node: Any) -> bool:
    """Return whether a node is a tree, not a token."""
    return isinstance(node, lark.Tree)


def where(tree: Tree) -> str:
    """Return the position of a node in the source, for messages; empty if it is unknown."""
    column = getattr(tree, "column", None) or getattr(getattr(tree, "meta", None), "column", None)
    return f"column {column}: " if column else ""


def literal_of(tree: Tree, sign: str = "") -> Any:
    """Return the value of a ``literal`` node; raises ``ExpressionError`` for an invalid literal."""
    token = tree.children[0]
    try:
        return literal(token.type, f"{sign}{token.value}")
    except ExpressionError as error:
        raise ExpressionError(f"{where(token)}{error}") from None


def string_literal(tree: Tree) -> str | None:
    """Return the string in a node that is nothing but a string literal; None for any other node."""
    value = literal_of(tree) if tree.data == "literal" else None
    return value if isinstance(value, str) else None


def negative_of(tree: Tree) -> int:
    """Return the value of an int literal after a minus sign; raises ``ExpressionError``.

    The smallest int has no positive counterpart: ``- 9223372036854775808`` is valid, ``--`` of it is not.
    """
    if not str(tree.children[0].value).startswith("-"):
        return int(literal_of(tree, "-"))
    value = -int(literal_of(tree))
    if value > MAX_INT:
        raise ExpressionError(f"{where(tree.children[0])}an int beyond 64 bits")
    return value


def identifier(tree: Tree) -> str | None:
    """Return the name if a node is nothing but a name; None for any other node."""
    return str(tree.children[0].value) if is_tree(tree) and tree.data == "ident" else None


def _variable(tree: Tree) -> str | None:
    return str(tree.children[0].value) if tree.data in ("ident", "dot_ident") else None


def arguments(tree: Tree) -> list[Tree]:
    """Return the expressions of a call, a list or a map; a map's keys and values alternate."""
    given = tree.children[_BEFORE_ARGUMENTS[tree.data] :]
    return list(given[0].children) if given and is_tree(given[0]) else []


def reads(tree: Tree, variables: frozenset[str]) -> Iterator[Path]:
    """Yield the members of the variables that an expression may read.

    A macro's variable may shadow a declared one; counting that as a read does no harm.
    """
    pending = [tree]
    while pending:
        node = pending.pop()
        path = path_of(node)
        if path is None:
            pending += [child for child in node.children if is_tree(child)]
            continue
        for length in range(len(path), 0, -1):  # a variable's name may have dots
            name = ".".join(path[:length])
            if name in variables:
                yield (name, *path[length:])
                break


def path_of(tree: Tree) -> Path | None:
    """Return ``("a", "b", "c")`` for ``a.b["c"]``; None for any node that is not such a selection."""
    members: list[str] = []
    while True:
        name = _variable(tree)
        if name is not None:
            return (name, *reversed(members))
        if tree.data == "member_dot":
            members.append(str(tree.children[1].value))
        elif tree.data == "member_index" and (member := string_literal(tree.children[1])) is not None:
            members.append(member)
        else:
            return None
        tree = tree.children[0]


def _collapsed(tree: Tree) -> Tree:
    """Drop nodes that wrap one child. No recursion: the depth is not checked yet and may be hostile."""
    order: list[Tree] = [tree]
    for node in order:
        order += [child for child in node.children if is_tree(child)]
    done: dict[int, Tree] = {}
    for node in reversed(order):
        children = [done[id(child)] if is_tree(child) else child for child in node.children]
        present = [child for child in children if child is not None]
        data = str(node.data)
        if data in _PASSED_THROUGH and len(present) == 1 and is_tree(present[0]):
            done[id(node)] = present[0]
            continue
        done[id(node)] = lark.Tree(data, children, node.meta)
    return _flattened(done[id(tree)])


def _flattened(tree: Tree) -> Tree:
    """Turn each chain of one operator into one node with all operands in reading order."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if node.data in _CHAINS:
            operands: list[Tree] = []
            first, last = node.children
            while True:
                operands.append(last)
                if first.data != node.data:
                    operands.append(first)
                    break
                first, last = first.children
            node.children = operands[::-1]
        pending += [child for child in node.children if is_tree(child)]
    return tree


def _nested_too_deeply(tree: Tree) -> bool:
    level = [tree]
    for _ in range(MAX_EXPRESSION_DEPTH):
        level = [child for node in level for child in node.children if is_tree(child)]
        if not level:
            return False
    return True
