"""Arithmetic and order: exactly CEL's overloads (langdef, "Standard Definitions").

Both operands have the same type; an integer beyond 64 bits is an error.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

from extproc.policy.cel.budget import Budget
from extproc.policy.cel.errors import CelError
from extproc.policy.cel.values import (
    MAX_INT,
    MAX_UINT,
    MIN_INT,
    NUMBERS,
    Uint,
    compared,
    no_overload,
    spend_characters,
)

_LIST_SHIFT = 2  # four references cost one unit to copy
_ORDERED = frozenset({bool, str, bytes})


def int64(value: int) -> int:
    """Return the value as int; raises ``CelError`` beyond 64 bits."""
    if MIN_INT <= value <= MAX_INT:
        return value
    raise CelError("int beyond 64 bits")


def uint64(value: int) -> Uint:
    """Return the value as uint; raises ``CelError`` beyond 64 bits."""
    if 0 <= value <= MAX_UINT:
        return Uint(value)
    raise CelError("uint beyond 64 bits")


def add(left: Any, right: Any, budget: Budget) -> Any:
    """Return ``left + right``: numbers, strings, bytes or lists."""
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return int64(left + right)
        if kind is str or kind is bytes:
            spend_characters(budget, len(left) + len(right))
            return left + right
        if kind is float:
            return left + right
        if kind is Uint:
            return uint64(int(left) + int(right))
        if kind is list:
            budget.spend((len(left) + len(right)) >> _LIST_SHIFT)
            return left + right
    raise no_overload("+", left, right)


def modulo(left: Any, right: Any, _budget: Budget) -> Any:
    """Return ``left % right``: integers only, with the sign of ``left``."""
    kind = type(left)
    if kind is type(right) and kind in NUMBERS and kind is not float:
        quotient = _quotient(int(left), int(right))
        rest = int(left) - int(right) * quotient
        if kind is Uint:
            return uint64(rest)
        int64(quotient)  # MIN_INT % -1 is an error, as MIN_INT / -1 is
        return rest
    raise no_overload("%", left, right)


def negate(value: Any) -> Any:
    """Return ``-value``."""
    if type(value) is int:
        return int64(-value)
    if type(value) is float:
        return -value
    raise no_overload("-", value)


def _quotient(left: int, right: int) -> int:
    if right == 0:
        raise CelError("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) is (right < 0) else -quotient


def _divided(left: float, right: float) -> float:
    if right:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _numeric(
    name: str, whole: Callable[[int, int], int], real: Callable[[float, float], float]
) -> Callable[[Any, Any, Budget], Any]:
    def operate(left: Any, right: Any, _budget: Budget) -> Any:
        kind = type(left)
        if kind is not type(right) or kind not in NUMBERS:
            raise no_overload(name, left, right)
        if kind is float:
            return real(left, right)
        result = whole(int(left), int(right))
        return int64(result) if kind is int else uint64(result)

    return operate


subtract = _numeric("-", operator.sub, operator.sub)
multiply = _numeric("*", operator.mul, operator.mul)
divide = _numeric("/", _quotient, _divided)
"""Integers are rounded towards zero; doubles are divided by IEEE 754."""


def _order(name: str, holds: Callable[[int], bool]) -> Callable[[Any, Any, Budget], bool]:
    def compare(left: Any, right: Any, budget: Budget) -> bool:
        kind = type(left)
        if kind in NUMBERS and type(right) in NUMBERS:
            order = compared(left, right)
            if order is None:  # an error in cel-go, false in cel-cpp: the error denies
                raise CelError("NaN has no order")
            return holds(order)
        if kind is type(right) and kind in _ORDERED:
            if kind is not bool:
                spend_characters(budget, min(len(left), len(right)))
            return holds((left > right) - (left < right))
        raise no_overload(name, left, right)

    return compare


less = _order("<", lambda order: order < 0)
less_or_equal = _order("<=", lambda order: order <= 0)
greater = _order(">", lambda order: order > 0)
greater_or_equal = _order(">=", lambda order: order >= 0)
