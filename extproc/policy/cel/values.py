"""CEL's values in Python, and their equality.

| CEL | Python |
|---|---|
| bool, double, string, bytes, null | ``bool``, ``float``, ``str``, ``bytes``, ``None`` |
| int, uint | ``int``, ``Uint``, both within 64 bits |
| list, map | ``list``, ``dict`` with ``key(k)`` for keys |
| type | ``CelType`` |

Types are compared with ``type(value) is``, never ``isinstance``: Python's bools are integers,
CEL's are not.
"""

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

from extproc.policy.cel.budget import Budget
from extproc.policy.cel.errors import CelError, EvaluationError

MIN_INT, MAX_INT = -(2**63), 2**63 - 1
MAX_UINT = 2**64 - 1
CHARACTERS_SHIFT = 6  # 64 characters cost one unit
COMPARISON_COST = 3
"""Units of comparing one element or member with another."""


def spend_characters(budget: Budget, length: int) -> None:
    """Count the characters that are copied, compared or searched; a short string costs nothing extra."""
    units = length >> CHARACTERS_SHIFT
    if units:
        budget.spend(units)


class Uint(int):
    """CEL's unsigned integer."""

    __slots__ = ()


class CelType(Enum):
    """CEL's types, with their names in expressions."""

    BOOL = "bool"
    BYTES = "bytes"
    DOUBLE = "double"
    INT = "int"
    LIST = "list"
    MAP = "map"
    NULL = "null_type"
    STRING = "string"
    TYPE = "type"
    UINT = "uint"


TYPES: dict[type, CelType] = {
    bool: CelType.BOOL,
    bytes: CelType.BYTES,
    float: CelType.DOUBLE,
    int: CelType.INT,
    list: CelType.LIST,
    dict: CelType.MAP,
    type(None): CelType.NULL,
    str: CelType.STRING,
    CelType: CelType.TYPE,
    Uint: CelType.UINT,
}
NUMBERS = frozenset({int, Uint, float})


def to_cel(value: Any, budget: Budget | None = None) -> Any:
    """Return a JSON value as a CEL value, and count the cost of reading it in ``budget``.

    Raises:
        EvaluationError: numbers beyond 64 bits, strings that are not Unicode or contain U+0000, types
            that JSON does not have, nesting beyond the interpreter's limit, a spent budget.
    """
    try:
        return _converted(value, budget or Budget())
    except RecursionError:
        raise EvaluationError("nested too deeply") from None


def _converted(value: Any, budget: Budget) -> Any:
    kind = type(value)
    if kind is str:
        budget.spend(1 + (len(value) >> CHARACTERS_SHIFT))
        if "\0" in value:
            raise EvaluationError("a string with U+0000")  # other programs end the string there
        if not value.isascii():
            _check_unicode(value)
        return value
    budget.spend(1)
    if kind is int:
        if not MIN_INT <= value <= MAX_INT:
            raise EvaluationError("a number beyond 64 bits")
        return value
    if kind is list:
        return [_converted(element, budget) for element in value]
    if isinstance(value, Mapping):
        return {_key(name, budget): _converted(member, budget) for name, member in value.items()}
    if kind is float or kind is bool or value is None:
        return value
    raise EvaluationError("not a JSON value")


def _key(name: Any, budget: Budget) -> str:
    if type(name) is not str:
        raise EvaluationError("not a JSON value")
    return str(_converted(name, budget))


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EvaluationError("a string that is not Unicode") from None


def key(value: Any) -> Any:
    """Return a key in the form that maps use: Python's dicts do not distinguish true from 1.

    A double selects the integer that it equals.

    Raises:
        CelError: a type that is not allowed for keys.
    """
    kind = type(value)
    if kind is str or kind is int or kind is Uint:
        return value
    if kind is bool:
        return (value,)
    if kind is float:
        return value if math.isfinite(value) else (None, value)
    raise CelError(f"no map key is a {TYPES[kind].value}")


def key_value(held: Any) -> Any:
    """Return the CEL value of a key in the form that ``key`` returns."""
    return held[0] if type(held) is tuple else held


def no_overload(operation: str, *operands: Any) -> CelError:
    """Return the error of an operation that is not defined for these types."""
    types = ", ".join(TYPES[type(operand)].value for operand in operands)
    return CelError(f"no {operation} for {types}")


def equal(left: Any, right: Any, budget: Budget) -> bool:
    """Return whether two values are equal. Numbers compare by value; any other values must have one type."""
    kind = type(left)
    if kind is not type(right):
        return kind in NUMBERS and type(right) in NUMBERS and numbers_equal(left, right)
    if kind is list:
        budget.spend(COMPARISON_COST * min(len(left), len(right)))
        return len(left) == len(right) and all(
            equal(mine, other, budget) for mine, other in zip(left, right, strict=True)
        )
    if kind is dict:
        budget.spend(COMPARISON_COST * min(len(left), len(right)))
        return len(left) == len(right) and all(
            name in right and equal(value, right[name], budget) for name, value in left.items()
        )
    if kind is str or kind is bytes:
        spend_characters(budget, min(len(left), len(right)))
    return bool(left == right)


def numbers_equal(left: float, right: float) -> bool:
    """Return whether two numbers of different types are equal."""
    return compared(left, right) == 0


def compared(left: float, right: float) -> int | None:
    """Compare two numbers: negative, zero or positive; None if one is NaN.

    An integer is converted to the nearest double to compare it with a double, as in cel-go and the
    specification's test cases.
    """
    if type(left) is float or type(right) is float:
        left, right = float(left), float(right)
        if left != left or right != right:  # noqa: PLR0124 - NaN
            return None
    return (left > right) - (left < right)
