"""The counts of a Prometheus histogram."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate


class Histogram:
    """Counts values by bucket. Not thread-safe: the owner holds a lock."""

    __slots__ = ("_bounds", "_counts", "_labels", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._labels = (*(f"{bound:g}" for bound in bounds), "+Inf")
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value. A bucket includes its upper bound."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Count many values: cheaper than one after the other."""
        ordered = sorted(values)
        self._sum += sum(ordered)
        below = 0
        for bucket, bound in enumerate(self._bounds):
            upto = bisect_right(ordered, bound, below)
            self._counts[bucket] += upto - below
            below = upto
        self._counts[-1] += len(ordered) - below

    def exposed(self) -> tuple[list[tuple[str, float]], float]:
        """Return the cumulative counts by upper bound, as in Prometheus's format, and the sum."""
        return list(zip(self._labels, accumulate(map(float, self._counts)), strict=True)), self._sum
