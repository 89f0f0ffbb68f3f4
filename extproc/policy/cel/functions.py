"""Functions over strings, lists and maps: exactly CEL's overloads."""

from collections.abc import Callable
from typing import Any

from extproc.policy.cel.budget import Budget
from extproc.policy.cel.errors import CelError
from extproc.policy.cel.values import (
    COMPARISON_COST,
    NUMBERS,
    Uint,
    equal,
    key,
    no_overload,
    spend_characters,
)

_SIZED = frozenset({str, bytes, list, dict})


def size(value: Any, _budget: Budget) -> int:
    """Return ``size(value)``: characters, octets, elements or members."""
    if type(value) in _SIZED:
        return len(value)
    raise no_overload("size()", value)


def contains(text: Any, part: Any, budget: Budget) -> bool:
    """Return ``text.contains(part)``."""
    if type(text) is str and type(part) is str:
        # Twice the cost of copying: a search for a part that nearly fits takes that long.
        spend_characters(budget, 2 * (len(text) + len(part)))
        return part in text
    raise no_overload("contains()", text, part)


def _end_test(name: str, test: Callable[[str, str], bool]) -> Callable[[Any, Any, Budget], bool]:
    def tested(text: Any, part: Any, _budget: Budget) -> bool:
        if type(text) is str and type(part) is str:
            return test(text, part)
        raise no_overload(name, text, part)

    return tested


starts_with = _end_test("startsWith()", str.startswith)
ends_with = _end_test("endsWith()", str.endswith)


def contained(item: Any, container: Any, budget: Budget) -> bool:
    """Return ``item in container``: whether a list has the element or a map the key."""
    kind = type(container)
    if kind is list:
        if type(item) is str:
            return item in budget.strings_of(container).distinct
        budget.spend(COMPARISON_COST * len(container))
        return any(equal(item, element, budget) for element in container)
    if kind is dict:
        return key(item) in container
    raise no_overload("in", item, container)


def indexed(container: Any, index: Any) -> Any:
    """Return ``container[index]``.

    Raises:
        KeyError: the map has no such key.
        CelError: every other failure.
    """
    kind = type(container)
    if kind is dict:
        return container[key(index)]
    if kind is list and type(index) in NUMBERS:
        # A double that is a whole number is an index: dyn(1.0) selects the second element.
        if type(index) is float and not index.is_integer():
            raise CelError("the index is not a whole number")
        if not 0 <= index < len(container):
            raise CelError("index out of range")
        return container[int(index)]
    raise no_overload("[]", container, index)


def made_map(entries: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return ``{key: value, ...}``.

    Raises:
        CelError: a repeated key, or a key of a type that is not allowed.
    """
    made: dict[Any, Any] = {}
    for name, value in entries:
        if type(name) not in (str, int, Uint, bool):
            raise no_overload("map key", name)
        held = key(name)
        if held in made:
            raise CelError("a map has a key twice")
        made[held] = value
    return made
