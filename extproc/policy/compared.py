"""Find the literals that an expression compares a member with, to warn about those that it never equals."""

from collections.abc import Iterator

from extproc.policy.cel.errors import Path
from extproc.policy.cel.syntax import Tree, arguments, is_tree, parse, path_of, string_literal


def compared(source: str, member: Path) -> list[str]:
    """Return the strings in ``member == "a"``, ``"a" != member`` and ``member in ["a", "b"]``.

    Args:
        source: an expression that compiles.
        member: the member, as in ``("request", "method")``.
    """
    return list(dict.fromkeys(_compared(parse(source), member)))


def _compared(tree: Tree, member: Path) -> Iterator[str]:
    if tree.data == "relation":
        operator, right = tree.children
        left = operator.children[0]
        if operator.data in ("relation_eq", "relation_ne") and path_of(right) == member:
            left, right = right, left
        if path_of(left) == member:
            listed = operator.data == "relation_in" and right.data == "list_lit"
            for entry in arguments(right) if listed else [right]:
                value = string_literal(entry)
                if value is not None:
                    yield value
    for child in tree.children:
        if is_tree(child):
            yield from _compared(child, member)
