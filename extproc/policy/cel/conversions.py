"""Conversions between CEL's types: exactly its overloads, with strings in cel-go's form.

Null, lists, maps and bools do not convert to numbers; strings only in ASCII, without white space.
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from extproc.policy.cel.arithmetic import int64, uint64
from extproc.policy.cel.budget import Budget
from extproc.policy.cel.errors import CelError
from extproc.policy.cel.values import (
    MAX_INT,
    MAX_UINT,
    MIN_INT,
    TYPES,
    CelType,
    Uint,
    no_overload,
    spend_characters,
)

_INT = re.compile(r"([+-]?)0*([0-9]{1,20})", re.ASCII)
_UINT = re.compile(r"0*([0-9]{1,20})", re.ASCII)
_DOUBLE = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf|infinity))", re.ASCII
)
_SIGNED_NAN = re.compile(r"[+-](?i:nan)", re.ASCII)
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_PLAIN_FROM, _PLAIN_TO = 1e-4, 1e6  # no exponent between them
_DECIMAL_COST = 30  # units


def to_int(value: Any, budget: Budget) -> int:
    """Return ``int(value)``: doubles are rounded towards zero, strings are decimal."""
    kind = type(value)
    if kind is int:
        return int(value)
    if kind is Uint:
        return int64(int(value))
    if kind is float:
        # The bounds are excluded: as a double, 2**63 cannot be told from its neighbours.
        if not MIN_INT < value < MAX_INT:
            raise CelError("double beyond int")
        return int(value)
    if kind is str:
        match = _INT.fullmatch(_scanned(value, budget))
        if match is None:
            raise CelError("the string is not an int")
        return int64(int(match[1] + match[2]))
    raise no_overload("int()", value)


def to_uint(value: Any, budget: Budget) -> Uint:
    """Return ``uint(value)``."""
    kind = type(value)
    if kind is Uint:
        return Uint(value)
    if kind is int:
        return uint64(value)
    if kind is float:
        if not 0 <= value < MAX_UINT:
            raise CelError("double beyond uint")
        return uint64(int(value))
    if kind is str:
        match = _UINT.fullmatch(_scanned(value, budget))
        if match is None:
            raise CelError("the string is not a uint")
        return uint64(int(match[1]))
    raise no_overload("uint()", value)


def to_double(value: Any, budget: Budget) -> float:
    """Return ``double(value)``: strings are decimal, NaN or infinite; a decimal out of range is an error."""
    kind = type(value)
    if kind in (float, int, Uint):
        return float(value)
    if kind is str:
        if not _DOUBLE.fullmatch(_scanned(value, budget)) or _SIGNED_NAN.fullmatch(value):
            raise CelError("the string is not a double")
        number = float(value)
        if math.isinf(number) and "n" not in value.lower():
            raise CelError("double out of range")
        return number
    raise no_overload("double()", value)


def to_bool(value: Any, _budget: Budget) -> bool:
    """Return ``bool(value)``: of strings, those that Go's ``strconv.ParseBool`` accepts."""
    if type(value) is bool:
        return value
    if type(value) is str:
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise CelError("the string is not a bool")
    raise no_overload("bool()", value)


def to_string(value: Any, budget: Budget) -> str:
    """Return ``string(value)``: ``true``, ``3``, ``0.5``; bytes must be UTF-8."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is Uint:
        return str(int(value))
    if kind is float:
        return _formatted(value, budget)
    if kind is bytes:
        spend_characters(budget, len(value))
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError:
            raise CelError("the bytes are not UTF-8") from None
    raise no_overload("string()", value)


def to_bytes(value: Any, budget: Budget) -> bytes:
    """Return ``bytes(value)``: strings in UTF-8."""
    if type(value) is bytes:
        return value
    if type(value) is str:
        return _scanned(value, budget).encode()
    raise no_overload("bytes()", value)


def type_of(value: Any, _budget: Budget) -> CelType:
    """Return ``type(value)``."""
    return TYPES[type(value)]


def dyn(value: Any, _budget: Budget) -> Any:
    """Return ``dyn(value)``: the value itself."""
    return value


CONVERSIONS: dict[str, tuple[Callable[[Any, Budget], Any], CelType | None]] = {
    "bool": (to_bool, CelType.BOOL),
    "bytes": (to_bytes, CelType.BYTES),
    "double": (to_double, CelType.DOUBLE),
    "dyn": (dyn, None),
    "int": (to_int, CelType.INT),
    "string": (to_string, CelType.STRING),
    "type": (type_of, CelType.TYPE),
    "uint": (to_uint, CelType.UINT),
}
"""By the function's name: the conversion and the type of its result."""


def _scanned(text: str, budget: Budget) -> str:
    spend_characters(budget, len(text))
    return text


def _formatted(value: float, budget: Budget) -> str:
    """Return the shortest decimal of the same double, as Go's ``FormatFloat(v, 'g', -1, 64)`` does."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    # Python's digits are the shortest, too; only the range without an exponent differs.
    if _PLAIN_FROM <= abs(value) < _PLAIN_TO:
        return repr(value).removesuffix(".0")
    budget.spend(_DECIMAL_COST)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if value == 0:
        return "-0" if sign else "0"
    first, *rest = map(str, digits)
    power = len(rest) + int(exponent)
    return f"{'-' if sign else ''}{first}{'.' if rest else ''}{''.join(rest)}e{power:+03d}"
