"""The cost of one decision, counted in units that are the same on every machine.

One unit stands for one node of an expression that is visited, one element that is compared, one
value of the claims that is read, or 64 characters that are copied or searched: about 0.1 µs
each. Nodes are counted when their expression begins, whether or not ``&&`` and ``||`` skip them.
"""

import time
from typing import Any

from extproc.policy.cel.errors import EvaluationError

DEFAULT_COST_LIMIT = 500_000
"""Units for all rules of one decision: 200 rules with ``exists`` over 300 groups need less than a fifth."""

_SECONDS_A_UNIT = 4e-6
_LEAST_SECONDS = 2.0

_LIST_COST = 8  # units of telling a list's strings apart, besides one for each element
_MAX_LISTS = 64  # remembered: those of the token come first; the rest are made by macros
_STRIDE = 16_384  # units between two looks at the clock


class Budget:
    """What one decision may cost. Whoever exceeds it gets an ``EvaluationError``.

    CPU time of the evaluating thread is a second fence, for costs that the units do not know. It is
    forty times what the units take, so that no decision depends on the load of the machine.

    Attributes:
        spent: units so far.
        limit: units in all.
    """

    __slots__ = ("_ends_at", "_look_at", "_seconds", "_strings", "limit", "spent")

    def __init__(self, limit: int = DEFAULT_COST_LIMIT) -> None:
        self.limit = limit
        self.spent = 0
        self._look_at = min(_STRIDE, limit)
        self._seconds = max(_LEAST_SECONDS, limit * _SECONDS_A_UNIT)
        self._ends_at = time.thread_time() + self._seconds
        self._strings: dict[int, Strings] = {}

    def spend(self, units: int) -> None:
        """Count ``units``.

        Raises:
            EvaluationError: the budget is spent. Nothing in an expression absorbs this.
        """
        self.spent += units
        if self.spent > self._look_at:
            self._look()

    def _look(self) -> None:
        if self.spent > self.limit:
            raise EvaluationError(f"too costly: more than {self.limit} units")
        if time.thread_time() > self._ends_at:
            raise EvaluationError(f"too costly: more than {self._seconds:g} s of CPU time")
        self._look_at = min(self.spent + _STRIDE, self.limit)

    def strings_of(self, values: list[Any]) -> "Strings":
        """Return the strings of a list, told apart once for all rules of the decision."""
        known = self._strings.get(id(values))
        if known is None:
            self.spend(_LIST_COST + len(values))
            known = Strings(values)
            if len(self._strings) < _MAX_LISTS:
                self._strings[id(values)] = known
        return known


class Strings:
    """The strings of one list, in the forms that the fast ways need.

    Attributes:
        ordered: the strings in the order of the list.
        distinct: the same as a set, for look-ups.
        complete: whether the list holds nothing but strings.
        length: characters of all together.
    """

    __slots__ = ("_encoded", "_values", "complete", "distinct", "length", "ordered")

    def __init__(self, values: list[Any]) -> None:
        self._values = values  # held, so that its id stays its own
        self.ordered = [value for value in values if type(value) is str]
        self.distinct = frozenset(self.ordered)
        self.complete = len(self.ordered) == len(values)
        self.length = sum(map(len, self.ordered))
        self._encoded: list[bytes] | None = None

    @property
    def encoded(self) -> list[bytes]:
        """The strings in UTF-8, as regular expressions read them."""
        if self._encoded is None:
            self._encoded = [string.encode() for string in self.ordered]
        return self._encoded
