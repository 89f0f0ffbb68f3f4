"""JSON with one reading only, for documents that somebody else wrote.

RFC 8259 leaves duplicate members, NaN and unbounded nesting to the parser, and two
parsers that differ there are a way around a check. Here each of them is an error.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

MAX_DEPTH = 32
"""Nesting beyond this is refused; tokens and MCP messages seen in practice stay below ten."""


class AmbiguousJSONError(ValueError):
    """The document is not JSON, or JSON with more than one reading. The message never quotes it."""


def loads(document: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse UTF-8 JSON, refusing duplicate members, non-finite numbers, lone surrogates and deep nesting.

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
        raise AmbiguousJSONError("not valid JSON") from None
    if _depth_exceeds(value, max_depth):
        raise AmbiguousJSONError("nested too deeply")
    return value


def loads_object(document: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Parse like ``loads`` and require an object at the top."""
    value = loads(document, max_depth=max_depth)
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


def _depth_exceeds(value: Any, limit: int) -> bool:
    """Walk level by level, so that hostile nesting costs no recursion."""
    level = _containers([value])
    for _ in range(limit):
        level = _containers(
            child for node in level for child in (node.values() if isinstance(node, dict) else node)
        )
        if not level:
            return False
    return bool(level)


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]
