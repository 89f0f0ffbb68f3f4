"""Macros over lists and the keys of maps (langdef, "Macros").

``all`` and ``exists`` are ``&&`` and ``||`` over all elements; the others raise every error.
A string is not a list, at any depth.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from extproc.policy.cel import regex
from extproc.policy.cel.budget import Budget, Strings
from extproc.policy.cel.code import Code, Frame, Run, for_each, total
from extproc.policy.cel.errors import CelError, graver
from extproc.policy.cel.logic import ERROR_COST
from extproc.policy.cel.values import CHARACTERS_SHIFT, CelType, key_value, no_overload


def elements(values: Any, name: str) -> Iterable[Any]:
    """Return the elements of a list or the keys of a map; raises ``CelError`` for other values."""
    kind = type(values)
    if kind is list:
        return values  # type: ignore[no-any-return]
    if kind is dict:
        return map(key_value, values)
    raise no_overload(f"{name}()", values)


Loop = Callable[[Frame, Any], Any]
"""The code of a macro; takes the frame and the list or map."""


def macro(name: str, values: Code, bodies: Sequence[Code], loop: Loop, units: int) -> Code:
    """Return the code of a macro over ``values``; ``units`` is the cost of one round of its loop."""
    run = values.run
    more = total(values.more, for_each(total((units,), *(body.more for body in bodies))))
    kind = CelType.BOOL if name in ("all", "exists", "exists_one") else CelType.LIST
    depends = values.depends.union(*(body.depends for body in bodies))
    return Code(
        lambda frame: loop(frame, run(frame)),
        values.nodes + 1,
        more,
        type=kind,
        depends=depends,
        mixed=len(depends) > 1,
    )


def round_units(bodies: Sequence[Code]) -> int:
    """Return the units of one round of a macro."""
    return 1 + sum(body.nodes for body in bodies)


def loop_of(name: str, bodies: Sequence[Code], slot: int) -> Loop:
    """Return the loop of a macro whose variable is in ``slot``."""
    body, nodes = bodies[-1].run, round_units(bodies)
    if name in ("all", "exists"):
        return quantifier(body, slot=slot, nodes=nodes, decisive=name == "exists")
    if name == "map":
        condition = bodies[0].run if len(bodies) > 1 else None
        return mapping(condition, body, slot=slot, nodes=nodes)
    return selection(body, slot=slot, nodes=nodes, name=name)


def quantifier(body: Run, *, slot: int, nodes: int, decisive: bool) -> Loop:
    """Return the loop of ``exists`` (``decisive`` true) or ``all``; ``nodes`` is the cost of one round."""
    name = "exists" if decisive else "all"

    def loop(frame: Frame, values: Any) -> Any:
        budget = frame[0]
        problem: CelError | None = None
        for value in elements(values, name):
            budget.spend(nodes)
            frame[slot] = value
            try:
                result = body(frame)
            except CelError as error:
                budget.spend(ERROR_COST)
                problem = graver(problem, error, decisive=decisive)
                continue
            if result is decisive:
                return decisive
            if type(result) is not bool:
                budget.spend(ERROR_COST)
                problem = graver(problem, no_overload(f"{name}()", result))
        if problem is not None:
            raise problem
        return not decisive

    return loop


def selection(body: Run, *, slot: int, nodes: int, name: str) -> Loop:
    """Return the loop of ``filter``, or of ``exists_one``, which is true if exactly one element is left."""

    def loop(frame: Frame, values: Any) -> Any:
        kept = []
        for value in elements(values, name):
            frame[0].spend(nodes)
            frame[slot] = value
            result = body(frame)
            if type(result) is not bool:
                raise no_overload(f"{name}()", result)
            if result:
                kept.append(value)
        return kept if name == "filter" else len(kept) == 1

    return loop


def mapping(condition: Run | None, body: Run, *, slot: int, nodes: int) -> Loop:
    """Return the loop of ``map``; a condition selects the elements."""

    def loop(frame: Frame, values: Any) -> list[Any]:
        results = []
        for value in elements(values, "map"):
            frame[0].spend(nodes)
            frame[slot] = value
            if condition is not None:
                wanted = condition(frame)
                if type(wanted) is not bool:
                    raise no_overload("map()", wanted)
                if not wanted:
                    continue
            results.append(body(frame))
        return results

    return loop


Search = Callable[[Strings, Budget], bool]


def exists_string(search: Search, *, slow: Loop, strict: bool) -> Loop:
    """Return the loop of ``exists`` that tests all strings of a list at once.

    ``slow`` is the ordinary loop, for maps and for errors. ``strict``: the test fails for elements that
    are not strings.
    """

    def loop(frame: Frame, values: Any) -> Any:
        if type(values) is not list:
            return slow(frame, values)
        budget = frame[0]
        strings = budget.strings_of(values)
        if search(strings, budget):
            return True
        return slow(frame, values) if strict and not strings.complete else False

    return loop


def equality_search(wanted: frozenset[str]) -> Search:
    """Return the test of ``g == wanted`` and ``g in wanted``."""
    return lambda strings, _budget: not wanted.isdisjoint(strings.distinct)


STRING_SEARCHES: dict[str, Callable[[list[str], str], bool]] = {
    "startsWith": lambda strings, part: any(string.startswith(part) for string in strings),
    "endsWith": lambda strings, part: any(string.endswith(part) for string in strings),
    "contains": lambda strings, part: any(part in string for string in strings),
}
"""By the name of the function: whether any of the strings passes it."""


def string_search(function: str, part: str) -> Search:
    """Return the test of ``g.startsWith(part)``, ``endsWith`` or ``contains``."""
    found = STRING_SEARCHES[function]
    searches = function == "contains"

    def search(strings: Strings, budget: Budget) -> bool:
        budget.spend(len(strings.ordered) + ((2 * strings.length) >> CHARACTERS_SHIFT if searches else 0))
        return found(strings.ordered, part)

    return search


def regex_search(pattern: Callable[[bytes], bool]) -> Search:
    """Return the test of ``g.matches(pattern)``."""

    def search(strings: Strings, budget: Budget) -> bool:
        budget.spend(regex.COST * len(strings.ordered) + (strings.length >> regex.BYTES_SHIFT))
        return any(map(pattern, strings.encoded))

    return search
