"""Rates and latencies over the last half hour, from the server's metrics: what the overview plots."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

EVERY = 5.0
"""Seconds between two samples, as between two scrapes."""

KEPT = 360
"""Samples."""

_TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one time.

    Attributes:
        at: seconds since the epoch.
        decisions: requests so far, by decision.
        buckets: requests so far, by the upper bound of their own time in seconds.
        exchanges: exchanges at STS so far.
    """

    at: float
    decisions: Mapping[str, float]
    buckets: Mapping[float, float]
    exchanges: float


@dataclass(frozen=True, slots=True)
class Point:
    """Rates between two samples, in requests a second, and quantiles in seconds; None without requests."""

    at: float
    allowed: float
    denied: float
    median: float | None
    slowest: float | None  # the 99th percentile
    exchanges: float


def read(text: str, *, at: float) -> Sample:
    """Return the counters in the metrics of a server, summed over its workers."""
    decisions: dict[str, float] = {}
    buckets: dict[float, float] = {}
    exchanges = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "extproc_requests_total":
                decision = sample.labels["decision"]
                decisions[decision] = decisions.get(decision, 0.0) + sample.value
            elif sample.name == "extproc_exchanges_total":
                exchanges += sample.value
            elif sample.name == "extproc_duration_seconds_bucket" and sample.labels.get("stage") == _TOTAL:
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
    return Sample(at, decisions, buckets, exchanges)


class Rates:
    """The last samples. For one event loop."""

    def __init__(self, kept: int = KEPT) -> None:
        self._samples: deque[Sample] = deque(maxlen=kept)

    def add(self, sample: Sample) -> None:
        """Add a sample. Counters that begin again after a restart of the server leave a gap."""
        self._samples.append(sample)

    def points(self) -> list[Point]:
        """Return one point for each two samples, in the order of time."""
        return [point for earlier, later in pairwise(self._samples) if (point := _point(earlier, later))]


def _point(earlier: Sample, later: Sample) -> Point | None:
    seconds = later.at - earlier.at
    grown = {
        name: later.decisions.get(name, 0.0) - earlier.decisions.get(name, 0.0) for name in ("allow", "deny")
    }
    if seconds <= 0 or min(grown.values()) < 0:
        return None
    bounds = sorted(later.buckets)
    counts = [max(later.buckets[bound] - earlier.buckets.get(bound, 0.0), 0.0) for bound in bounds]
    return Point(
        later.at,
        grown["allow"] / seconds,
        grown["deny"] / seconds,
        quantile(0.5, bounds, counts),
        quantile(0.99, bounds, counts),
        max(later.exchanges - earlier.exchanges, 0.0) / seconds,
    )


def quantile(share: float, bounds: Sequence[float], cumulative: Sequence[float]) -> float | None:
    """Return a quantile of a histogram, interpolated in its bucket as Prometheus does; None if empty."""
    if not cumulative or cumulative[-1] <= 0:
        return None
    rank = share * cumulative[-1]
    below, lower = 0.0, 0.0
    for bound, count in zip(bounds, cumulative, strict=True):
        if count >= rank:
            if bound == float("inf"):
                return lower
            inside = count - below
            return lower + (bound - lower) * ((rank - below) / inside if inside else 1.0)
        below, lower = count, bound
    return lower


def values(points: Iterable[Point], name: str) -> list[float | None]:
    """Return one attribute of all points."""
    return [getattr(point, name) for point in points]
