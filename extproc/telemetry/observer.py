"""Every decision is told here, once, before its answer leaves: to metrics, audit log and traces."""

import random
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from extproc.telemetry.audit import AuditLog
from extproc.telemetry.event import event_of
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.record import RequestRecord


class Verdict(StrEnum):
    """What became of a request."""

    ALLOW = "allow"
    DENY = "deny"
    REPLY = "reply"  # answered by us: resource metadata, CORS preflights
    ABANDONED = "abandoned"  # Envoy left before there was an answer; nothing was forwarded


class Tracer(Protocol):
    """Where traces go; ``telemetry.tracing`` has the one there is, for those who installed it."""

    def trace(self, record: RequestRecord, *, ended_at: int) -> None:
        """Tell of a decision; ``ended_at``: nanoseconds since the epoch."""
        ...

    def close(self) -> None:
        """Send what is left, within bounded time."""
        ...


class DecisionObserver(Protocol):
    """Receives each decision before the response is sent."""

    def on_decision(
        self, record: RequestRecord, verdict: Verdict, reason: str = "", detail: str = ""
    ) -> None:
        """Take note of a decision."""
        ...

    def on_abandoned(self, record: RequestRecord, phase: str) -> None:
        """Take note of a stream that Envoy left without an answer."""
        ...


class Observer:
    """Where decisions go. ``audit`` or ``tracer`` None: off. ``sample_allows``: the share that is audited."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        audit: AuditLog | None = None,
        sample_allows: float = 1.0,
        tracer: Tracer | None = None,
        random_share: Callable[[], float] = random.random,
    ) -> None:
        self._metrics = metrics
        self._audit = audit
        self._sample_allows = sample_allows
        self._tracer = tracer
        self._random_share = random_share

    def on_decision(
        self, record: RequestRecord, verdict: Verdict, reason: str = "", detail: str = ""
    ) -> None:
        """Tell of a decision. No I/O: the audit log and traces are written by threads of their own."""
        record.pause()
        record.decision, record.reason = verdict.value, reason
        self._metrics.decided(record)
        self._tell(record, verdict, detail)

    def on_abandoned(self, record: RequestRecord, phase: str) -> None:
        """Count a stream that Envoy left; in the audit log and traces if a request was in it. No I/O."""
        self._metrics.abandoned(phase)
        if record.head is not None:
            record.pause()
            record.decision = Verdict.ABANDONED.value
            self._tell(record, Verdict.ABANDONED, phase)

    def _tell(self, record: RequestRecord, verdict: Verdict, detail: str) -> None:
        if self._audit is not None and (
            verdict is not Verdict.ALLOW
            or self._sample_allows >= 1.0
            or self._random_share() < self._sample_allows
        ):
            self._audit.append(event_of(record, detail, time.time()))
        if self._tracer is not None:
            self._tracer.trace(record, ended_at=time.time_ns())
