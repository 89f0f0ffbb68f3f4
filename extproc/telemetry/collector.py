"""Prometheus metrics as they are exposed: the names and labels of all metrics of this project."""

import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from extproc.fairness.stream_slots import SlotCounts
from extproc.telemetry.histogram import Histogram
from extproc.telemetry.record import HIT, MISS, SESSION
from extproc.telemetry.state import GaugeSources, MetricsState, SharedStoreCounts

_KNOWN_SESSION, _UNKNOWN_SESSION = (HIT, SESSION), (MISS,)
_KNOWN_CREDENTIALS, _UNKNOWN_CREDENTIALS = (HIT,), (SESSION, MISS)


class MetricsCollector(Collector):
    """Exposes what was counted and, once it is set, the present values of ``sources``."""

    def __init__(self, counts: MetricsState, lock: threading.Lock, *, settle: Callable[[], None]) -> None:
        self._counts = counts
        self._lock = lock
        self._settle = settle  # counts the decisions that are only queued; needs the lock
        self.sources: GaugeSources | None = None
        self.certificate: tuple[Callable[[], tuple[float, float]], Callable[[], bool]] | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield all families, with the counts of one instant."""
        with self._lock:
            self._settle()
            families = list(self._counted())
        yield from families
        if self.sources is not None:
            yield from _present(self.sources)
        if self.certificate is not None:
            valid_between, broken = self.certificate
            begins, ends = valid_between()
            yield _gauge(
                "certificate_start_timestamp_seconds",
                "When the gRPC listener's certificate becomes valid, in Unix time.",
                [({}, begins)],
            )
            yield _gauge(
                "certificate_expiry_timestamp_seconds",
                "When the gRPC listener's certificate expires, in Unix time.",
                [({}, ends)],
            )
            yield _gauge(
                "certificate_files_broken",
                "1 while the certificate files cannot be used and the previous certificate is served.",
                [({}, broken())],
            )

    def _counted(self) -> Iterator[Metric]:
        counts = self._counts
        build = {"version": version("extproc-sigv4"), "python": platform.python_version()}
        yield _gauge("build_info", "This build; always 1.", [(build, 1)])
        yield _counter(
            "requests",
            "Requests decided, by decision (allow, deny, reply), reason of denial and target.",
            [
                ({"decision": decision, "reason": reason, "target": target}, count)
                for (decision, reason, target), count in counts.requests.items()
            ],
            labels=["decision", "reason", "target"],
        )
        yield _histogram(
            "duration_seconds",
            "Own time of a request in total, of a verification, decision, exchange, wait or signature.",
            [({"stage": stage}, histogram) for stage, histogram in counts.durations.items()],
        )
        yield _histogram(
            "credentials_remaining_seconds",
            "Remaining lifetime of the credentials when a request was signed with them.",
            [({}, counts.remaining)],
        )
        yield _histogram(
            "policy_cost_units",
            "Cost of an evaluation of the policy; at most limits.policy_cost.",
            [({}, counts.policy_cost)],
        )
        for name, help_text, sessions, credentials in (
            ("cache_hits", "Requests that hit the cache.", _KNOWN_SESSION, _KNOWN_CREDENTIALS),
            ("cache_misses", "Requests that missed the cache.", _UNKNOWN_SESSION, _UNKNOWN_CREDENTIALS),
        ):
            yield _counter(
                name,
                help_text,
                [
                    ({"cache": "sessions"}, sum(counts.lookups[state] for state in sessions)),
                    ({"cache": "credentials"}, sum(counts.lookups[state] for state in credentials)),
                ],
            )
        yield _counter(
            "exchanges",
            'Token exchanges at STS, by outcome (ok or the reason of denial) and STS error code, or "other".',
            [
                ({"outcome": outcome, "code": code}, count)
                for (outcome, code), count in counts.exchanges.items()
            ],
            labels=["outcome", "code"],
        )
        yield _counter(
            "exchanges_refused",
            "Exchanges that were refused without a call of STS, by cause.",
            _by("cause", counts.exchanges_refused),
        )
        yield _counter(
            "token_exchanges",
            "Exchanges at an identity provider, by outcome (ok or the reason of denial) and error code.",
            [
                ({"issuer": issuer, "outcome": outcome, "code": code}, count)
                for (issuer, outcome, code), count in counts.token_exchanges.items()
            ],
            labels=["issuer", "outcome", "code"],
        )
        yield _counter(
            "token_exchanges_refused",
            "Exchanges that were refused without a call of the identity provider, by cause.",
            [
                ({"issuer": issuer, "cause": cause}, count)
                for (issuer, cause), count in counts.token_exchanges_refused.items()
            ],
            labels=["issuer", "cause"],
        )
        yield _counter(
            "withheld_headers",
            "Clients' headers that were removed from signed requests, by configuration or profile.",
            [({"target": target}, count) for target, count in counts.withheld.items()],
            labels=["target"],
        )
        yield _counter(
            "streams_abandoned",
            "Streams that Envoy closed before an answer, by phase.",
            _by("phase", counts.abandoned),
        )
        yield _counter(
            "upstream_answers",
            "Upstream responses that were examined, by what of the signature they refuse.",
            [
                ({"target": target, "refused": refused}, count)
                for (target, refused), count in counts.answers.items()
            ],
            labels=["target", "refused"],
        )
        yield _counter(
            "head_checks",
            "Known heads that were decoded as a check, and whether the result was the same.",
            _by("outcome", counts.head_checks),
        )
        yield _counter(
            "shadow_decisions",
            "New decisions under the candidate configuration, by how they compare with the running one.",
            _by("outcome", counts.shadow),
        )
        yield _counter(
            "jwks_fetches",
            "Fetches of an issuer's keys.",
            [
                ({"issuer": issuer, "outcome": outcome}, count)
                for (issuer, outcome), count in counts.fetches.items()
            ],
            labels=["issuer", "outcome"],
        )
        yield _counter(
            "break_glass",
            "New decisions for a break-glass mapping, by mapping.",
            [({"mapping": mapping}, count) for mapping, count in counts.break_glass.items()],
            labels=["mapping"],
        )
        yield _counter(
            "rate_limited",
            "Requests that a rate limit refused, by limit.",
            [({"limit": limit}, count) for limit, count in counts.rate_limited.items()],
            labels=["limit"],
        )
        yield _counter(
            "config_reloads",
            "Attempts to reload the configuration.",
            [
                ({"outcome": outcome}, counts.reloads[outcome])
                for outcome in ("applied", "unchanged", "failed")
            ],
        )
        yield _gauge(
            "config_last_reload_successful",
            "1 if the last attempt to load the configuration succeeded.",
            [({}, counts.reloaded)],
        )
        yield _gauge(
            "config_last_reload_timestamp_seconds",
            "When the configuration in use was loaded.",
            [({}, counts.reloaded_at)],
        )


def _present(sources: GaugeSources) -> Iterator[Metric]:
    yield _gauge("ready", "1 if this instance should get traffic.", [({}, sources.ready())])
    yield _gauge(
        "config_restart_needed",
        "1 for a setting whose new value in the configuration file takes effect only after a restart.",
        _by("setting", sources.waits_for_restart()),
        labels=["setting"],
    )
    yield _gauge(
        "cache_entries",
        "Sessions and credentials held.",
        _by("cache", {k: v() for k, v in sources.entries.items()}),
    )
    yield _counter(
        "cache_evictions",
        "Entries evicted to make room for others.",
        _by("cache", {k: v() for k, v in sources.evictions.items()}),
    )
    yield _counter(
        "credentials_refreshes",
        "Renewals of credentials before they expire.",
        _by("outcome", sources.refreshes()),
    )
    yield _gauge(
        "sts_breaker", "STS circuit breaker: 0 closed, 1 half-open, 2 open.", [({}, sources.breaker())]
    )
    yield _gauge(
        "token_exchange_breaker",
        "Circuit breaker of an identity provider's token endpoint: 0 closed, 1 half-open, 2 open.",
        _by("issuer", sources.token_exchange_breakers()),
        labels=["issuer"],
    )
    yield _gauge(
        "token_exchanges_waiting",
        "Exchanges at identity providers running or queued.",
        [({}, sources.token_exchanges_waiting())],
    )
    yield _gauge("exchanges_waiting", "Exchanges running or queued.", [({}, sources.exchanges_waiting())])
    yield from _slots(sources.slots())
    yield _gauge(
        "clock_offset_seconds",
        "Seconds by which AWS's clock is ahead of this machine's.",
        [({}, sources.clock_offset())],
    )
    yield _gauge(
        "jwks_age_seconds",
        "Seconds since an issuer's keys were fetched; +Inf before the first fetch.",
        _by("issuer", sources.jwks_ages()),
        labels=["issuer"],
    )
    yield _gauge("audit_queue_length", "Events waiting to be written.", [({}, sources.audit_queued())])
    yield _counter(
        "audit_events",
        "Events of the audit log: written, dropped because the queue was full, or failed to be written.",
        _by("outcome", sources.audit_events()),
        labels=["outcome"],
    )
    if sources.shared_store is not None:
        yield from _shared_store(sources.shared_store())


def _shared_store(counts: SharedStoreCounts) -> Iterator[Metric]:
    for name, help_text, outcomes in (
        ("calls", "Calls of the shared store, by outcome.", counts.calls),
        ("lookups", "Lookups of credentials in the shared store, by outcome.", counts.lookups),
        ("writes", "Writes of credentials to the shared store, by outcome.", counts.writes),
    ):
        yield _counter(f"shared_store_{name}", help_text, _by("outcome", outcomes))
    yield _counter(
        "shared_store_waits", "Lookups that waited for another replica's exchange.", [({}, counts.waits)]
    )
    for name, help_text, value in (
        ("writes_waiting", "Writes to the shared store that are not done yet.", counts.writes_waiting),
        ("breaker", "Shared store's circuit breaker: 0 closed, 1 half-open, 2 open.", counts.breaker),
        ("poll_age_seconds", "Seconds since the store was asked for revocations.", counts.poll_age),
        (
            "unusable_revocations",
            "Revocations in the shared store that do not open with this server's secrets.",
            counts.unusable_revocations,
        ),
    ):
        yield _gauge(f"shared_store_{name}", help_text, [({}, value)])


def _slots(targets: Mapping[str, SlotCounts]) -> Iterator[Metric]:
    for name, help_text, values in (
        (
            "limit",
            "Requests that may be open to a target.",
            {k: v.limit for k, v in targets.items()},
        ),
        ("open", "Requests open to a target.", {k: v.open for k, v in targets.items()}),
        ("waiting", "Requests that wait for a target.", {k: v.waiting for k, v in targets.items()}),
    ):
        yield _gauge(f"target_requests_{name}", help_text, _by("target", values), labels=["target"])
    yield _counter(
        "target_waits",
        "Requests that had to wait for a target, by outcome.",
        [
            ({"target": target, "outcome": outcome}, count)
            for target, counts in targets.items()
            for outcome, count in counts.outcomes.items()
        ],
        labels=["target", "outcome"],
    )


_Samples = Iterable[tuple[Mapping[str, str], float]]


def _by(label: str, values: Mapping[str, float]) -> _Samples:
    return [({label: name}, value) for name, value in values.items()]


def _gauge(name: str, help_text: str, samples: _Samples, *, labels: list[str] | None = None) -> Metric:
    return _filled(GaugeMetricFamily(f"extproc_{name}", help_text, labels=_labels(samples, labels)), samples)


def _counter(name: str, help_text: str, samples: _Samples, *, labels: list[str] | None = None) -> Metric:
    return _filled(
        CounterMetricFamily(f"extproc_{name}", help_text, labels=_labels(samples, labels)), samples
    )


def _labels(samples: _Samples, labels: list[str] | None) -> list[str]:
    return labels or [name for sample_labels, _ in list(samples)[:1] for name in sample_labels]


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: _Samples) -> Metric:
    for labels, value in samples:
        family.add_metric(list(labels.values()), float(value))
    return family


def _histogram(name: str, help_text: str, samples: list[tuple[Mapping[str, str], Histogram]]) -> Metric:
    family = HistogramMetricFamily(f"extproc_{name}", help_text, labels=list(samples[0][0]))
    for labels, histogram in samples:
        buckets, total = histogram.exposed()
        family.add_metric(list(labels.values()), buckets, total)
    return family
