"""Medians, spreads and ratios of rounds; percentiles of latencies counted in buckets."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_EXACT_BELOW = 1000  # microseconds counted one by one; above, three digits are kept


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds and how far the rounds lie apart."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def width(self) -> float:
        """Highest minus lowest, as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def spread(values: Iterable[float]) -> Spread:
    """The spread of one measurement's rounds.

    Raises:
        ValueError: there are no values.
    """
    known = sorted(values)
    if not known:
        raise ValueError("no rounds")
    return Spread(statistics.median(known), known[0], known[-1], len(known))


def ratio(ours: Sequence[float], reference: Sequence[float]) -> Spread:
    """Round by round: what slowed the machine down in a round slowed down both."""
    return spread(mine / other for mine, other in zip(ours, reference, strict=True))


def bucket(microseconds: int) -> int:
    """The bucket a latency is counted in: itself, or rounded down to three digits."""
    step = 1
    while microseconds >= _EXACT_BELOW * step:
        step *= 10
    return microseconds // step * step


def percentile(counts: Mapping[int, int], share: float) -> float:
    """The latency that ``share`` (0 to 1) of all counted ones do not exceed."""
    total = sum(counts.values())
    if not total:
        raise ValueError("nothing was counted")
    rank = max(1, round(share * total))
    seen = 0
    for latency in sorted(counts):
        seen += counts[latency]
        if seen >= rank:
            return float(latency)
    raise AssertionError("the ranks end with the total")


def merged(histograms: Iterable[Mapping[int, int]]) -> Counter[int]:
    """Histograms of several processes as one."""
    total: Counter[int] = Counter()
    for histogram in histograms:
        total.update(histogram)
    return total
