"""Prometheus metrics: what is counted. No label carries anything of a user.

Requests are noted down, and counted many at once in plain numbers under one lock, which costs less
than one counter of the client library; ``exposition`` shows them.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from extproc.telemetry.collector import MetricsCollector
from extproc.telemetry.record import RequestRecord
from extproc.telemetry.state import GaugeSources, MetricsState

_AT_ONCE = 64


class _Decided(NamedTuple):
    """What is counted of a record. Not the record itself: its head holds the token."""

    labels: tuple[str, str, str]
    cache: str
    own: float
    sign: float | None
    remaining: float | None
    stages: Mapping[str, tuple[float, float]]


class Metrics:
    """The process's metrics, in a registry of their own. May be told from any thread.

    ``exchange_outcomes``: every outcome and code with which an exchange can end.
    """

    def __init__(self, *, exchange_outcomes: Iterable[tuple[str, str]] = ()) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._counts = MetricsState()
        self._counts.expect(exchange_outcomes=exchange_outcomes)
        self._uncounted: deque[_Decided] = deque()
        self._total, self._sign = self._counts.durations["total"], self._counts.durations["sign"]
        self._exposition = MetricsCollector(self._counts, self._lock, settle=self._count)
        self.registry.register(self._exposition)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def follow(self, sources: GaugeSources) -> None:
        """Show present values too."""
        self._exposition.sources = sources

    def expect(self, *, targets: Collection[str], issuers: Iterable[str]) -> None:
        """Show from now on, at 0 at first, all that can be counted of these targets and issuers."""
        with self._lock:
            self._counts.expect(targets=targets, issuers=issuers)

    def follow_certificate(
        self, *, valid_between: Callable[[], tuple[float, float]], broken: Callable[[], bool]
    ) -> None:
        """Show when the listener's certificate begins and ends, and whether its files cannot be used."""
        self._exposition.certificate = (valid_between, broken)

    def decided(self, record: RequestRecord) -> None:
        """Count a decision, and how long its parts took."""
        self._uncounted.append(
            _Decided(
                (record.decision, record.reason, record.target),
                record.cache,
                record.own,
                record.sign,
                record.remaining,
                record.stages,
            )
        )
        if record.withheld:
            with self._lock:
                self._counts.withheld[record.target] += record.withheld
        if len(self._uncounted) >= _AT_ONCE:
            with self._lock:
                self._count()

    def _count(self) -> None:
        """Count what was noted down, with the lock held."""
        counts, uncounted = self._counts, self._uncounted
        while uncounted:
            labels, cache, own, sign, remaining, stages = uncounted.popleft()
            counts.requests[labels] += 1
            counts.lookups[cache] += 1
            self._total.observe(own)
            if sign is not None:
                self._sign.observe(sign)
            if remaining is not None:
                counts.remaining.observe(remaining)
            for stage, (began, ended) in stages.items():
                if stage != "exchange":  # counted below, renewals included
                    counts.durations[stage].observe(ended - began)

    def exchanged(self, outcome: str, code: str, seconds: float) -> None:
        """Count an exchange: "ok" or the reason of denial, STS's error code if it gave one."""
        with self._lock:
            self._counts.exchanges[outcome, code] += 1
            self._counts.durations["exchange"].observe(seconds)

    def exchange_refused(self, cause: str) -> None:
        """Count an exchange for which STS was not asked."""
        with self._lock:
            self._counts.exchanges_refused[cause] += 1

    def abandoned(self, phase: str) -> None:
        """Count a stream that Envoy left, in one of ``ABANDONED_IN``."""
        with self._lock:
            self._counts.abandoned[phase] += 1

    def answered(self, target: str, refused: str) -> None:
        """Count an upstream's answer that was looked at, as one of ``ANSWERS``."""
        with self._lock:
            self._counts.answers[target, refused] += 1

    def evaluated(self, cost: int) -> None:
        """Count an evaluation of the policy, by its units of cost."""
        with self._lock:
            self._counts.policy_cost.observe(cost)

    def head_checked(self, same: bool) -> None:  # noqa: FBT001 - a callback's argument
        """Count a known head that was decoded all the same."""
        with self._lock:
            self._counts.head_checks["same" if same else "different"] += 1

    def fetched(self, issuer: str, ok: bool) -> None:  # noqa: FBT001 - a callback's argument
        """Count a fetch of an issuer's keys."""
        with self._lock:
            self._counts.fetches[issuer, "ok" if ok else "failed"] += 1

    def started(self, *, at: float) -> None:
        """Note that the configuration is good; ``at``: Unix time."""
        with self._lock:
            self._counts.reloaded = True
            self._counts.reloaded_at = at

    def reloaded(self, outcome: str, *, at: float) -> None:
        """Count a reload, whose outcome is "applied", "unchanged" or "failed"; ``at``: Unix time."""
        with self._lock:
            self._counts.reloads[outcome] += 1
        if outcome == "failed":
            self._counts.reloaded = False
        else:
            self.started(at=at)
