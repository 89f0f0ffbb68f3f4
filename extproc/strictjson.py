"""JSON with one reading only, for documents that somebody else wrote.

RFC 8259 leaves duplicate members, NaN and unbounded nesting to the parser, and two
parsers that differ there are a way around a check. Here each of them is an error.
"""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 32
"""Nesting beyond this is refused; tokens and MCP messages seen in practice stay below ten."""


class AmbiguousJSONError(ValueError):
    """The document is not JSON, or JSON with more than one reading. The message never quotes it."""


class NotJSONError(AmbiguousJSONError):
    """The document is not JSON at all."""


def loads(document: bytes, *, max_depth: int = MAX_DEPTH, max_values: int | None = None) -> Any:
    """Parse UTF-8 JSON, refusing duplicate members, non-finite numbers, lone surrogates and deep nesting.

    ``max_values`` bounds the members and elements of all objects and lists together.

    Raises:
        AmbiguousJSONError: for anything that another parser could read otherwise.
    """
    try:
        text = document.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant
        )
        if "\\u" in text:
            # An escaped lone surrogate survives parsing and cannot be encoded again.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except AmbiguousJSONError:
        raise
    except (ValueError, RecursionError):
        raise NotJSONError("not valid JSON") from None
    _bound(value, max_depth, max_values)
    return value


def loads_object(
    document: bytes, *, max_depth: int = MAX_DEPTH, max_values: int | None = None
) -> dict[str, Any]:
    """Parse like ``loads`` and require an object at the top."""
    value = loads(document, max_depth=max_depth, max_values=max_values)
    if not isinstance(value, dict):
        raise AmbiguousJSONError("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise AmbiguousJSONError("duplicate member names")
    return members


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):  # 1e999 is valid JSON, but no number that two parsers agree on
        raise AmbiguousJSONError("a number is out of range")
    return number


def _refuse_constant(_name: str) -> NoReturn:
    raise AmbiguousJSONError("NaN and Infinity are not JSON")


def _bound(value: Any, max_depth: int, max_values: int | None) -> None:
    """Walk level by level, so that hostile nesting costs no recursion."""
    level = [value] if isinstance(value, dict | list) else []
    values = 0
    for _ in range(max_depth):
        if not level:
            return
        below: list[Any] = []
        for node in level:
            values += len(node)
            children = node.values() if isinstance(node, dict) else node
            below += [child for child in children if isinstance(child, dict | list)]
        if max_values is not None and values > max_values:
            raise AmbiguousJSONError("too many values")
        level = below
    if level:
        raise AmbiguousJSONError("nested too deeply")
