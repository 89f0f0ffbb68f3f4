"""The cost of one decision, in units that are the same on every machine.

One unit is one visited node of an expression, one compared element, one value of the claims that is
read, or 64 characters that are copied or searched: about 0.1 µs each. Nodes are counted when the
evaluation of their expression begins, whether or not ``&&`` and ``||`` skip them.
"""

import time
from typing import Any

from extproc.policy.cel.errors import EvaluationError

DEFAULT_COST_LIMIT = 500_000
"""Units for all rules of one decision. 200 rules with ``exists`` over 300 groups need less than a fifth."""

_SECONDS_A_UNIT = 4e-6
_LEAST_SECONDS = 2.0

_LIST_COST = 8  # units of collecting a list's strings, in addition to one for each element
_MAX_LISTS = 64  # lists kept: those of the token come first, the others are results of macros
_STRIDE = 16_384  # units between two readings of the clock


class Budget:
    """The units that one decision may spend. Exceeding them raises ``EvaluationError``.

    The CPU time of the evaluating thread is a second limit, for costs that the units do not cover. It is
    forty times what the units usually take, so that no decision depends on the load of the machine.

    Attributes:
        spent: units spent so far.
        limit: units that may be spent.
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
            EvaluationError: the budget is spent. No operator or macro absorbs this error.
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
        """Return the strings of a list, collected once for all rules of the decision."""
        known = self._strings.get(id(values))
        if known is None:
            self.spend(_LIST_COST + len(values))
            known = Strings(values)
            if len(self._strings) < _MAX_LISTS:
                self._strings[id(values)] = known
        return known


class Strings:
    """The strings of one list, in the forms that the fast loops need.

    Attributes:
        ordered: the strings in the order of the list.
        distinct: the same as a set, for look-ups.
        complete: whether the list holds nothing but strings.
        length: total number of characters.
    """

    __slots__ = ("_encoded", "_values", "complete", "distinct", "length", "ordered")

    def __init__(self, values: list[Any]) -> None:
        self._values = values  # keeps the list alive: its id is the key under which it is found
        self.ordered = [value for value in values if type(value) is str]
        self.distinct = frozenset(self.ordered)
        self.complete = len(self.ordered) == len(values)
        self.length = sum(map(len, self.ordered))
        self._encoded: list[bytes] | None = None

    @property
    def encoded(self) -> list[bytes]:
        """Return the strings in UTF-8, the form that regular expressions search."""
        if self._encoded is None:
            self._encoded = [string.encode() for string in self.ordered]
        return self._encoded
