"""Passes each decision, once and before the response is sent, to metrics, audit log and traces."""

import random
import time
from collections.abc import Callable
from typing import Final, Protocol

from extproc.telemetry.audit import AuditLog
from extproc.telemetry.event import event_of
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.record import RequestRecord


class Verdict:
    """The end of a request, as metrics and audit log name it. Plain strings, cheaper than an enum's."""

    ALLOW: Final = "allow"
    DENY: Final = "deny"
    REPLY: Final = "reply"  # answered here: resource metadata, CORS preflights
    ABANDONED: Final = "abandoned"  # Envoy closed the stream before an answer; nothing was forwarded


class Tracer(Protocol):
    """Sends traces; implemented by ``telemetry.tracing``, which needs an extra."""

    def trace(self, record: RequestRecord, *, ended_at: int) -> None:
        """Trace a decision; ``ended_at``: nanoseconds since the epoch."""
        ...

    def close(self) -> None:
        """Send what is left, within bounded time."""
        ...


class Observer:
    """Passes decisions on.

    Args:
        audit: None turns the audit log off.
        sample_allows: the share of allowed requests to audit, from 0 to 1.
        tracer: None turns traces off.
    """

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

    def on_decision(self, record: RequestRecord, verdict: str, reason: str = "", detail: str = "") -> None:
        """Record a decision. No I/O: other threads write the audit log and send traces."""
        record.pause()
        record.decision, record.reason = verdict, reason
        self._metrics.decided(record)
        self._pass_on(record, verdict, detail)

    def on_abandoned(self, record: RequestRecord, phase: str) -> None:
        """Record a stream that Envoy closed; in audit log and traces only if a request was in it. No I/O."""
        self._metrics.abandoned(phase)
        if record.head is not None:
            record.pause()
            record.decision = Verdict.ABANDONED
            self._pass_on(record, Verdict.ABANDONED, phase)

    def _pass_on(self, record: RequestRecord, verdict: str, detail: str) -> None:
        if self._audit is not None and (
            verdict != Verdict.ALLOW
            or self._sample_allows >= 1.0
            or self._random_share() < self._sample_allows
            or (record.grant is not None and record.grant.break_glass is not None)  # never left out
        ):
            self._audit.append(event_of(record, detail, time.time()))
        if self._tracer is not None:
            self._tracer.trace(record, ended_at=time.time_ns())
