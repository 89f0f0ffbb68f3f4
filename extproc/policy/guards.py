"""The claims that an expression reads without a guard.

Without a guard, a token that lacks the claim makes a mapping not match, and a deny rule apply.
"""

from collections.abc import Iterator

from extproc.policy.cel.errors import Path
from extproc.policy.cel.syntax import Tree, arguments, is_tree, parse, path_of, string_literal

_ALWAYS_THERE = frozenset({("claims", "iss"), ("claims", "sub"), ("claims", "aud"), ("claims", "exp")})
"""Claims that every verified token has."""


def unguarded(source: str) -> list[Path]:
    """Return the claims that an expression reads without ``has()`` or ``in``.

    Of nested claims only the outermost unguarded one is returned.
    """
    tree = parse(source)
    guards = set(_guards(tree))
    found = set()
    for path in _selections(tree):
        for end in range(2, len(path) + 1):
            if path[:end] not in guards and path[:end] not in _ALWAYS_THERE:
                found.add(path[:end])
                break
    return sorted(found)


def _guards(tree: Tree) -> Iterator[Path]:
    for node in tree.iter_subtrees():
        if node.data == "ident_arg" and str(node.children[0].value) == "has":
            path = path_of(arguments(node)[0])
        elif node.data == "relation" and node.children[0].data == "relation_in":
            member, container = string_literal(node.children[0].children[0]), path_of(node.children[1])
            path = (*container, member) if container is not None and member is not None else None
        else:
            continue
        if path is not None:
            yield path


def _selections(tree: Tree) -> Iterator[Path]:
    """Yield the longest paths below ``claims`` that are read for their value, not by ``has()``."""
    path = path_of(tree)
    if path is not None:
        if path[0] == "claims" and len(path) > 1:
            yield path
    elif tree.data == "ident_arg" and str(tree.children[0].value) == "has":
        inner = path_of(arguments(tree)[0])
        if inner is not None and inner[0] == "claims" and len(inner) > 2:  # noqa: PLR2004 - a member of a claim
            yield inner[:-1]
    else:
        for child in tree.children:
            if is_tree(child):
                yield from _selections(child)
