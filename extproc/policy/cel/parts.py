"""Split an expression into the operands of its ``&&`` and ``||``, for explanations.

The source is split, not the syntax tree, which does not know the position of every part in the source.
The expression must be one that compiles.
"""

import itertools
import re
from collections.abc import Iterator
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
    source = _joined(tokens)
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


def operands(source: str) -> Iterator[tuple[str, str]]:
    """Yield the operands of ``&&``, ``||`` and ``?:`` at any depth, each with the expression that lacks it.

    Without one branch of ``?:`` the other one is left.
    """
    tokens = [_plain(token) for token in _TOKEN.findall(source)]
    for start, end, instead in _operands(tokens, 0, len(tokens)):
        yield _joined(_bare(tokens[start:end])), _joined(instead)


_Operand = tuple[int, int, list[str]]
"""Where an operand begins and ends, and all tokens of the expression without it."""


def _operands(tokens: list[str], start: int, end: int) -> Iterator[_Operand]:
    """Yield the operands between two places, which are the ends or next to brackets or operators."""
    depths = _depths(tokens[start:end])
    top = [place for place in range(start, end) if depths[place - start] == 0]
    cuts = [place for place in top if tokens[place] == ","]
    if not cuts and any(tokens[place] == "?" for place in top):
        question, colon = _ternary(tokens, top)
        before, after = tokens[:start], tokens[end:]
        yield question + 1, colon, [*before, "(", *tokens[colon + 1 : end], ")", *after]
        yield colon + 1, end, [*before, "(", *tokens[question + 1 : colon], ")", *after]
        cuts = [question, colon]
    elif not cuts:
        # A colon without a question mark is that of a map.
        operator = next(
            (each for each in (":", "||", "&&") if any(tokens[place] == each for place in top)), ""
        )
        cuts = [place for place in top if tokens[place] == operator]
        if cuts and operator != ":":
            yield from _chain(tokens, [start - 1, *cuts, end])
    if cuts:
        for first, last in itertools.pairwise([start - 1, *cuts, end]):
            yield from _operands(tokens, first + 1, last)
        return
    opened = start
    for place in top:
        if tokens[place] in _OPENING:
            opened = place
        elif tokens[place] in _CLOSING:
            yield from _operands(tokens, opened + 1, place)


def _chain(tokens: list[str], cuts: list[int]) -> Iterator[_Operand]:
    """Yield the operands of one chain, which are between the cuts."""
    for place, (before, after) in enumerate(itertools.pairwise(cuts)):
        # With the operand goes one operator: that before it, or the one after the first.
        gone = (before + 1, after + 1) if place == 0 else (before, after)
        yield before + 1, after, [*tokens[: gone[0]], *tokens[gone[1] :]]


def _ternary(tokens: list[str], top: list[int]) -> tuple[int, int]:
    """Return the places of the first ``?`` and of its ``:``."""
    first = next(place for place in top if tokens[place] == "?")
    nested = 0
    for place in top:
        nested += (tokens[place] == "?") - (tokens[place] == ":")
        if place > first and nested == 0:
            return first, place
    raise ValueError("? without :")  # pragma: no cover - the expression compiles


def _joined(tokens: list[str]) -> str:
    return "".join(piece for place, piece in enumerate(tokens) if piece != " " or tokens[place - 1] != " ")
