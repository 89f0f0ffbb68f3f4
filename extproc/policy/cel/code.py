"""Compiled parts of expressions: Python closures over a frame of variables, and what they cost.

A frame is a list: the budget first, then one place for each variable. Every evaluation has a
frame of its own, so that compiled code can run in several threads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from extproc.policy.cel.errors import Path
from extproc.policy.cel.values import CelType

Frame = list[Any]
Run = Callable[[Frame], Any]

Cost = tuple[int, ...]
"""Units for lists of n elements: ``(a, b, c)`` is a + b·n + c·n²."""

OPERATOR_COST = 3
"""Units of arithmetic and of comparisons."""
CONVERSION_COST = 6
"""Units of a conversion; most read or write decimals."""
ENTRY_COST = 3
"""Units of an entry of a map."""

UNKNOWN = object()
"""No constant."""


@dataclass(frozen=True, slots=True)
class Code:
    """One compiled part.

    Attributes:
        run: evaluates it.
        nodes: units that are counted when the whole expression begins.
        more: estimate of the units that are counted while it runs.
        type: its type, if nothing can change it.
        constant: its value, if nothing can change it; else ``UNKNOWN``.
        path: the member of a variable that it is, if it is nothing else.
        depends: the variables that it depends on.
        mixed: whether missing members of claims and request can meet in it.
    """

    run: Run
    nodes: int = 1
    more: Cost = ()
    type: CelType | None = None
    constant: Any = UNKNOWN
    path: Path | None = None
    depends: frozenset[str] = frozenset()
    mixed: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether nothing can change its value."""
        return self.constant is not UNKNOWN


def total(*costs: Cost) -> Cost:
    """Return the sum."""
    return tuple(map(sum, zip_longest(*costs, fillvalue=0)))


def for_each(cost: Cost) -> Cost:
    """Return the cost of doing something for each of n elements."""
    return (0, *cost)


def cost_at(cost: Cost, size: int) -> int:
    """Return the units for lists of ``size`` elements."""
    return sum(factor * size**power for power, factor in enumerate(cost))
