"""Parse JSON that has only one reading, for documents from outside.

RFC 8259 leaves duplicate members, NaN and unbounded nesting to the parser. A check is useless if the next
parser reads the document differently, so each of them is an error here.
"""

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 32
"""Maximum nesting. Tokens and MCP messages stay below ten in practice."""


class AmbiguousJSONError(ValueError):
    """The document is not JSON, or has more than one reading. The message never quotes it."""


class NotJSONError(AmbiguousJSONError):
    """The document is not JSON at all."""


def loads(document: bytes, *, max_depth: int = MAX_DEPTH, max_values: int | None = None) -> Any:
    """Parse UTF-8 JSON, refusing duplicate members, non-finite numbers, lone surrogates and deep nesting.

    ``max_values`` bounds the members and elements of all objects and lists together.

    Raises:
        AmbiguousJSONError: anything that another parser could read differently.
    """
    try:
        text = document.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse_constant
        )
        if "\\u" in text:
            # The parser accepts an escaped lone surrogate, which cannot be encoded.
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
    if not math.isfinite(number):  # 1e999 is valid JSON, but parsers differ
        raise AmbiguousJSONError("a number is out of range")
    return number


def _refuse_constant(_name: str) -> NoReturn:
    raise AmbiguousJSONError("NaN and Infinity are not JSON")


def _bound(value: Any, max_depth: int, max_values: int | None) -> None:
    """Check the limits level by level: no recursion for hostile nesting."""
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
