"""Compiled parts of expressions: Python closures over a frame of variables, and what they cost.

A frame is a list: the budget first, then one slot for each variable. Every evaluation has its own
frame, so that several threads can run the same compiled code.
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
"""Cost in units for lists of n elements: ``(a, b, c)`` means a + b·n + c·n²."""

OPERATOR_COST = 3
"""Units of arithmetic and of comparisons."""
CONVERSION_COST = 6
"""Units of a conversion: most of them read or write decimals."""
ENTRY_COST = 3
"""Units of a map's entry."""

UNKNOWN = object()
"""Marks code whose value is not constant."""


@dataclass(frozen=True, slots=True)
class Code:
    """One compiled part of an expression.

    Attributes:
        run: evaluates the part.
        nodes: units that are counted when the evaluation of the whole expression begins.
        more: estimate of the units that are counted during the evaluation.
        type: the type of the result, if it is the same for every input.
        constant: the value, if it is the same for every input; otherwise ``UNKNOWN``.
        path: the member of a variable that the part selects, if it does nothing else.
        depends: the variables that the part depends on.
        mixed: whether missing members of both the claims and the request can occur in it.
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
        """Return whether the value is the same for every input."""
        return self.constant is not UNKNOWN


def total(*costs: Cost) -> Cost:
    """Return the sum."""
    return tuple(map(sum, zip_longest(*costs, fillvalue=0)))


def for_each(cost: Cost) -> Cost:
    """Return the cost of repeating a step for each of n elements."""
    return (0, *cost)


def cost_at(cost: Cost, size: int) -> int:
    """Return the units for lists of ``size`` elements."""
    return sum(factor * size**power for power, factor in enumerate(cost))
