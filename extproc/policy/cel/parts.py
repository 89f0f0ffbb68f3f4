"""The operands of an expression's ``&&`` and ``||``, each an expression of its own, for explanations.

Found in the source, not in the syntax tree: the tree does not say where everything in it was written.
The expression is one that compiles.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    //[^\n]*                                                              # a comment
    | [bB]?[rR][bB]? (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )  # a raw string
    | [bB]? (?: \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3} | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' )
    | \w+ | && | \|\| | \s+ | .
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


@dataclass(frozen=True, slots=True)
class Part:
    """An expression, and what it is joined of.

    Attributes:
        source: as it was written, without comments, line breaks and parentheses around it.
        operator: ``&&``, ``||``, or empty for an expression that is not taken apart.
        operands: in reading order.
    """

    source: str
    operator: str = ""
    operands: tuple["Part", ...] = ()


def parts(source: str) -> Part:
    """Take an expression apart."""
    return _part([_plain(token) for token in _TOKEN.findall(source)])


def _plain(token: str) -> str:
    return " " if token.isspace() or token.startswith("//") else token


def _part(tokens: list[str]) -> Part:
    tokens = _bare(tokens)
    spaced = [piece for place, piece in enumerate(tokens) if piece != " " or tokens[place - 1] != " "]
    source = "".join(spaced)
    depths = _depths(tokens)
    top = {token for token, depth in zip(tokens, depths, strict=True) if depth == 0}
    operator = "" if "?" in top else "||" if "||" in top else "&&" if "&&" in top else ""
    if not operator:
        return Part(source)
    operands: list[list[str]] = [[]]
    for token, depth in zip(tokens, depths, strict=True):
        if depth == 0 and token == operator:
            operands.append([])
        else:
            operands[-1].append(token)
    return Part(source, operator, tuple(map(_part, operands)))


def _bare(tokens: list[str]) -> list[str]:
    """Without white space and parentheses around all of it."""
    while True:
        while tokens and tokens[0] == " ":
            tokens = tokens[1:]
        while tokens and tokens[-1] == " ":
            tokens = tokens[:-1]
        if not tokens or tokens[0] != "(" or tokens[-1] != ")" or 0 in _depths(tokens)[1:-1]:
            return tokens
        tokens = tokens[1:-1]


def _depths(tokens: list[str]) -> list[int]:
    """How many brackets each token is in; a bracket itself is outside of its own."""
    depths, depth = [], 0
    for token in tokens:
        depth -= token in _CLOSING
        depths.append(depth)
        depth += token in _OPENING
    return depths
