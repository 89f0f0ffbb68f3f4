"""The counts since the start, and the sources of present values."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product

from extproc.errors import Reason
from extproc.fairness.stream_slots import SlotCounts
from extproc.telemetry.histogram import Histogram

SECONDS = (
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Bounds of durations: from a signature to an exchange at its deadline."""

REMAINING = (30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0)
"""Bounds of the credentials' remaining lifetime, in seconds."""

EXCHANGE_REFUSALS = ("one_user", "queue_full", "too_slow", "waited_too_long", "breaker_open")
"""``sts.exchange.Refusal``, which this package cannot import; a test compares them."""

ANSWERS = (
    "none", "credentials", "clock", "region", "service", "body", "missing", "signature", "not_shown",
)  # fmt: skip
"""What an upstream's response says is wrong: nothing, one of ``signing.rejections.Cause`` (which this package
cannot import; a test compares them), or unknown because Envoy did not show it."""

ABANDONED_IN = ("opened", "deciding", "body")
"""Phases in which Envoy may close a stream before an answer: before the head, during the work on it (message
timeout, client gone), or while waiting for the body (larger than Envoy's buffer, client gone)."""

UNITS = (100.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 1e7)
"""Bounds of a decision's cost, in units of ``limits.policy_cost``."""

SHADOW_OUTCOMES = ("same", "widened", "narrowed", "changed", "reason", "unseen", "failed", "dropped")
"""How a decision under a candidate configuration compares with the running one: equal, a kind of difference,
or not compared: the running policy has not read the request, an error, or too many waited."""

STAGES = ("total", "verify", "policy", "token_exchange", "exchange", "target", "sign")

_ANSWERS = (("allow", ""), ("reply", ""), *(("deny", reason.value) for reason in Reason))
_BEFORE_A_TARGET = tuple((decision, reason) for decision, reason in _ANSWERS if decision != "allow")


@dataclass(slots=True)
class MetricsState:
    """Everything that was counted since the start."""

    requests: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # decision, reason, target
    lookups: Counter[str] = field(default_factory=Counter)  # by RequestRecord.cache
    exchanges: Counter[tuple[str, str]] = field(default_factory=Counter)  # outcome, code
    exchanges_refused: Counter[str] = field(
        default_factory=lambda: Counter(dict.fromkeys(EXCHANGE_REFUSALS, 0))
    )
    token_exchanges: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # issuer, outcome, code
    token_exchanges_refused: Counter[tuple[str, str]] = field(default_factory=Counter)  # issuer, cause
    withheld: Counter[str] = field(default_factory=Counter)  # headers, by target
    abandoned: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(ABANDONED_IN, 0)))
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)  # target, one of ``ANSWERS``
    head_checks: Counter[str] = field(
        default_factory=lambda: Counter(dict.fromkeys(("same", "different"), 0))
    )
    fetches: Counter[tuple[str, str]] = field(default_factory=Counter)  # issuer, outcome
    reloads: Counter[str] = field(default_factory=Counter)
    break_glass: Counter[str] = field(default_factory=Counter)  # by mapping
    rate_limited: Counter[str] = field(default_factory=Counter)  # by limit
    shadow: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(SHADOW_OUTCOMES, 0)))
    durations: dict[str, Histogram] = field(
        default_factory=lambda: {stage: Histogram(SECONDS) for stage in STAGES}
    )
    remaining: Histogram = field(default_factory=lambda: Histogram(REMAINING))
    policy_cost: Histogram = field(default_factory=lambda: Histogram(UNITS))
    reloaded_at: float = field(default_factory=time.time)
    reloaded: bool = True

    def expect(
        self,
        *,
        targets: Collection[str] = (),
        issuers: Iterable[str] = (),
        exchange_outcomes: Iterable[tuple[str, str]] = (),
        token_exchanges: Iterable[tuple[str, str, str]] = (),
        break_glass: Iterable[str] = (),
        rate_limits: Iterable[str] = (),
    ) -> None:
        """Start series at 0.

        ``increase`` and ``rate`` of Prometheus compute the difference of two samples, so they miss the
        first event of a series that starts at 1.
        """
        for (decision, reason), target in product(_ANSWERS, targets):
            self.requests[decision, reason, target] += 0
        for target in targets:
            self.withheld[target] += 0
        for target, refused in product(targets, ANSWERS):
            self.answers[target, refused] += 0
        for decision, reason in _BEFORE_A_TARGET:
            self.requests[decision, reason, ""] += 0
        for issuer, outcome in product(issuers, ("ok", "failed")):
            self.fetches[issuer, outcome] += 0
        for known in exchange_outcomes:
            self.exchanges[known] += 0
        for exchange in token_exchanges:
            self.token_exchanges[exchange] += 0
            for cause in EXCHANGE_REFUSALS:
                self.token_exchanges_refused[exchange[0], cause] += 0
        self.break_glass.update(dict.fromkeys(break_glass, 0))
        self.rate_limited.update(dict.fromkeys(rate_limits, 0))


@dataclass(frozen=True, slots=True)
class SharedStoreCounts:
    """What the shared store did so far.

    Attributes:
        calls: by outcome.
        lookups: by outcome.
        writes: by outcome.
        waits: lookups that waited for another replica's exchange.
        writes_waiting: writes that are not done yet.
        breaker: the state of the circuit breaker.
        poll_age: seconds since revocations were last looked for; infinity before the first time.
        unusable_revocations: revocations in the store that do not open.
    """

    calls: Mapping[str, int]
    lookups: Mapping[str, int]
    writes: Mapping[str, int]
    waits: int
    writes_waiting: int
    breaker: int
    poll_age: float
    unusable_revocations: int


@dataclass(frozen=True, slots=True)
class GaugeSources:
    """Functions that return present values, called at each scrape."""

    ready: Callable[[], bool]
    entries: Mapping[str, Callable[[], int]]  # by cache
    evictions: Mapping[str, Callable[[], int]]
    refreshes: Callable[[], Mapping[str, int]]  # by outcome
    breaker: Callable[[], int]
    token_exchange_breakers: Callable[[], Mapping[str, int]]  # by issuer
    token_exchanges_waiting: Callable[[], int]
    clock_offset: Callable[[], float]
    exchanges_waiting: Callable[[], int]
    slots: Callable[[], Mapping[str, SlotCounts]]  # by target
    jwks_ages: Callable[[], Mapping[str, float]]  # seconds by issuer
    audit_queued: Callable[[], int]
    audit_events: Callable[[], Mapping[str, int]]  # by outcome
    waits_for_restart: Callable[[], Mapping[str, bool]]  # by setting
    shared_store: Callable[[], SharedStoreCounts] | None = None  # None: there is none
