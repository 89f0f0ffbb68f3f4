"""Prometheus metrics: what is counted. No label contains anything about a user.

Decisions are queued, and counted many at once in plain numbers under one lock. This costs less than one
counter of the client library. ``telemetry.collector`` exposes them.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from extproc.telemetry.collector import MetricsCollector
from extproc.telemetry.record import RequestRecord
from extproc.telemetry.state import GaugeSources, MetricsState

_BATCH = 64  # decisions


_Decided = tuple[
    tuple[str, str, str], str, float, float | None, float | None, Mapping[str, tuple[float, float]]
]
"""The counted part of a record: labels, cache, own, sign, remaining, stages. The record itself must not be
kept: its head contains the token."""


class Metrics:
    """The process's metrics, in their own registry. For any thread.

    ``exchange_outcomes``: every outcome and error code with which an exchange can end;
    ``token_exchange_outcomes``: the same for exchanges at identity providers.
    """

    def __init__(
        self,
        *,
        exchange_outcomes: Iterable[tuple[str, str]] = (),
        token_exchange_outcomes: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._token_exchange_outcomes = tuple(token_exchange_outcomes)
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._counts = MetricsState()
        self._counts.expect(exchange_outcomes=exchange_outcomes)
        self._uncounted: deque[_Decided] = deque()
        self._total, self._sign = self._counts.durations["total"], self._counts.durations["sign"]
        self._collector = MetricsCollector(self._counts, self._lock, settle=self._count)
        self.registry.register(self._collector)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def follow(self, sources: GaugeSources) -> None:
        """Expose present values too."""
        self._collector.sources = sources

    def expect(
        self,
        *,
        targets: Collection[str],
        issuers: Iterable[str],
        token_exchanges: Iterable[str] = (),
        break_glass: Iterable[str] = (),
        rate_limits: Iterable[str] = (),
    ) -> None:
        """Expose all series that these targets and issuers can have, at 0 until something is counted.

        ``token_exchanges``: the issuers whose tokens are exchanged. ``break_glass``: mappings.
        ``rate_limits``: names of limits.
        """
        exchanges = [
            (issuer, *outcome) for issuer in token_exchanges for outcome in self._token_exchange_outcomes
        ]
        with self._lock:
            self._counts.expect(
                targets=targets,
                issuers=issuers,
                token_exchanges=exchanges,
                break_glass=break_glass,
                rate_limits=rate_limits,
            )

    def follow_certificate(
        self, *, valid_between: Callable[[], tuple[float, float]], broken: Callable[[], bool]
    ) -> None:
        """Expose the validity of the listener's certificate, and whether its files cannot be used."""
        self._collector.certificate = (valid_between, broken)

    def decided(self, record: RequestRecord) -> None:
        """Count a decision, and the duration of its stages."""
        self._uncounted.append(
            (
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
        if len(self._uncounted) >= _BATCH:
            with self._lock:
                self._count()

    def _count(self) -> None:
        """Count the queued decisions. The caller holds the lock."""
        decided = [self._uncounted.popleft() for _ in range(len(self._uncounted))]
        if not decided:
            return
        counts = self._counts
        labels, caches, own, sign, remaining, stages = zip(*decided, strict=True)
        counts.requests.update(labels)
        counts.lookups.update(caches)
        self._total.observe_all(own)
        self._sign.observe_all(seconds for seconds in sign if seconds is not None)
        counts.remaining.observe_all(seconds for seconds in remaining if seconds is not None)
        for of_one in filter(None, stages):
            for stage, (began, ended) in of_one.items():
                if stage != "exchange":  # ``exchanged`` counts these, with renewals
                    counts.durations[stage].observe(ended - began)

    def exchanged(self, outcome: str, code: str, seconds: float) -> None:
        """Count an exchange: "ok" or the reason of denial, and the error code if STS returned one."""
        with self._lock:
            self._counts.exchanges[outcome, code] += 1
            self._counts.durations["exchange"].observe(seconds)

    def exchange_refused(self, cause: str) -> None:
        """Count an exchange that was refused without a call of STS."""
        with self._lock:
            self._counts.exchanges_refused[cause] += 1

    def token_exchanged(self, issuer: str, outcome: str, code: str, seconds: float) -> None:
        """Count an exchange at an identity provider, or a token of it that was not accepted (0 seconds)."""
        with self._lock:
            self._counts.token_exchanges[issuer, outcome, code] += 1
            if seconds:
                self._counts.durations["token_exchange"].observe(seconds)

    def token_exchange_refused(self, issuer: str, cause: str) -> None:
        """Count an exchange that was refused without a call of the identity provider."""
        with self._lock:
            self._counts.token_exchanges_refused[issuer, cause] += 1

    def abandoned(self, phase: str) -> None:
        """Count a stream that Envoy closed before an answer, by one of the phases ``ABANDONED_IN``."""
        with self._lock:
            self._counts.abandoned[phase] += 1

    def answered(self, target: str, refused: str) -> None:
        """Count an upstream's response that was examined, as one of ``ANSWERS``."""
        with self._lock:
            self._counts.answers[target, refused] += 1

    def broke_glass(self, mapping: str) -> None:
        """Count a new decision for a break-glass mapping."""
        with self._lock:
            self._counts.break_glass[mapping] += 1

    def rate_limited(self, limit: str) -> None:
        """Count a request that a rate limit refused."""
        with self._lock:
            self._counts.rate_limited[limit] += 1

    def evaluated(self, cost: int) -> None:
        """Count an evaluation of the policy, by its cost."""
        with self._lock:
            self._counts.policy_cost.observe(cost)

    def shadow_decided(self, outcome: str) -> None:
        """Count a decision under a candidate configuration, by one of ``SHADOW_OUTCOMES``."""
        with self._lock:
            self._counts.shadow[outcome] += 1

    def head_checked(self, same: bool) -> None:  # noqa: FBT001 - a callback's argument
        """Count a known head that was decoded as a check."""
        with self._lock:
            self._counts.head_checks["same" if same else "different"] += 1

    def fetched(self, issuer: str, ok: bool) -> None:  # noqa: FBT001 - a callback's argument
        """Count a fetch of an issuer's keys."""
        with self._lock:
            self._counts.fetches[issuer, "ok" if ok else "failed"] += 1

    def started(self, *, at: float) -> None:
        """Record that a configuration was loaded; ``at``: seconds since the epoch."""
        with self._lock:
            self._counts.reloaded = True
            self._counts.reloaded_at = at

    def reloaded(self, outcome: str, *, at: float) -> None:
        """Count a reload, as "applied", "unchanged" or "failed"; ``at``: seconds since the epoch."""
        with self._lock:
            self._counts.reloads[outcome] += 1
        if outcome == "failed":
            self._counts.reloaded = False
        else:
            self.started(at=at)
