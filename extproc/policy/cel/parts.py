"""Split an expression into the operands of its ``&&`` and ``||``, for explanations.

The source is split, not the syntax tree, which does not know the position of every part in the source.
The expression must be one that compiles.
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
    """An expression and its operands.

    Attributes:
        source: the expression as written, without comments, line breaks and outer parentheses.
        operator: ``&&``, ``||``, or empty for an expression that is not split.
        operands: the operands of the operator in reading order.
    """

    source: str
    operator: str = ""
    operands: tuple["Part", ...] = ()


def parts(source: str) -> Part:
    """Split an expression."""
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
    """Return the tokens without outer white space and parentheses."""
    while True:
        while tokens and tokens[0] == " ":
            tokens = tokens[1:]
        while tokens and tokens[-1] == " ":
            tokens = tokens[:-1]
        if not tokens or tokens[0] != "(" or tokens[-1] != ")" or 0 in _depths(tokens)[1:-1]:
            return tokens
        tokens = tokens[1:-1]


def _depths(tokens: list[str]) -> list[int]:
    """Return the number of brackets around each token; a bracket is not inside its own pair."""
    depths, depth = [], 0
    for token in tokens:
        depth -= token in _CLOSING
        depths.append(depth)
        depth += token in _OPENING
    return depths
