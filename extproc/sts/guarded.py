"""Calls of one service with limits: a few threads that users share fairly, a deadline, a circuit breaker."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

import structlog

from extproc.errors import Denied, Reason
from extproc.fairness.pool import Busy, BusyError, FairPool, Job
from extproc.fairness.queue import Owner
from extproc.sts.breaker import CircuitBreaker

_Result = TypeVar("_Result")

_log = structlog.get_logger(__name__)


class Refusal(StrEnum):
    """Why the service was not called: the values of label ``cause`` of the metrics."""

    ONE_USER = Busy.OF_ONE_USER.value
    QUEUE_FULL = Busy.QUEUE_FULL.value
    TOO_SLOW = Busy.TOO_SLOW.value
    WAITED_TOO_LONG = "waited_too_long"
    BREAKER_OPEN = "breaker_open"


_REFUSALS = {
    Refusal.ONE_USER: "too many exchanges of this user are waiting",
    Refusal.QUEUE_FULL: "too many exchanges are waiting",
    Refusal.TOO_SLOW: "the turn of this exchange would come after its deadline",
    Refusal.WAITED_TOO_LONG: "the turn of this exchange did not come before its deadline",
    Refusal.BREAKER_OPEN: "the circuit breaker is open",
}


@dataclass(frozen=True, slots=True)
class Service:
    """What calls of a service end with.

    Attributes:
        name: of its threads.
        failed: the event in the log for a call that failed.
        unavailable: the reason if it does not answer, or the breaker is open.
        busy: the reason if too much waits for it.
        failures: the reasons that count as failures of the service.
        operator_errors: the reasons that are logged as errors.
    """

    name: str
    failed: str
    unavailable: Reason
    busy: Reason
    failures: frozenset[Reason]
    operator_errors: frozenset[Reason]


@dataclass(frozen=True, slots=True)
class CallLimits:
    """The limits of calls.

    Attributes:
        deadline: seconds that one call may take for a request, waiting for a thread included.
        workers: number of threads.
        max_waiting: limit of calls waiting or under way; further ones are refused at once.
        max_of_one: the same limit for one (issuer, subject).
    """

    deadline: float
    workers: int
    max_waiting: int
    max_of_one: int = 4


class GuardedCalls:
    """Runs blocking calls in threads. Belongs to one event loop.

    Attributes:
        on_outcome: called after each call with "ok" or the reason, the service's error code, and seconds.
        on_refusal: called with the cause of each refusal without a call.
    """

    def __init__(
        self,
        service: Service,
        *,
        breaker: CircuitBreaker,
        limits: CallLimits,
        on_outcome: Callable[[str, str, float], None] = lambda _outcome, _code, _seconds: None,
        on_refusal: Callable[[str], None] = lambda _cause: None,
    ) -> None:
        self._service = service
        self.breaker = breaker
        self._deadline = limits.deadline
        self._on_outcome = on_outcome
        self._on_refusal = on_refusal
        self._pool = FairPool(
            workers=limits.workers,
            max_waiting=limits.max_waiting,
            max_of_one=limits.max_of_one,
            name=service.name,
            before_each=self._ask_breaker,
        )

    @property
    def waiting(self) -> int:
        """Number of calls under way or queued."""
        return len(self._pool)

    async def call(
        self, owner: Owner, work: Callable[[float], _Result], logged: Mapping[str, str]
    ) -> _Result:
        """Call the service for a user, and return its result.

        Args:
            owner: the user.
            work: makes the call; gets the time at which to give up, in ``time.monotonic`` seconds.
            logged: fields of the log if the call fails.

        Raises:
            Denied: by the call; at once if the user or the queue has too many calls, if its turn would come
                after the deadline, or while the breaker is open.
        """
        if not self.breaker.would_admit():
            raise self._refused(Refusal.BREAKER_OPEN)
        try:
            job = self._pool.submit(
                owner, partial(work, time.monotonic() + self._deadline), within=self._deadline
            )
        except BusyError as busy:
            raise self._refused(Refusal(busy.cause)) from None
        call = _Call(self._report, logged, job)
        try:
            await asyncio.wait({job.result}, timeout=self._deadline)
        finally:
            if job.began is None:
                job.result.cancel()
        if not job.result.done():
            raise call.end(Denied(self._service.unavailable, f"no answer within {self._deadline} s"))
        if job.result.cancelled():
            raise self._refused(Refusal.WAITED_TOO_LONG)
        try:
            return job.result.result()
        except _BreakerOpenError:
            raise self._refused(Refusal.BREAKER_OPEN) from None

    def _ask_breaker(self) -> None:
        if not self.breaker.admits():
            raise _BreakerOpenError

    def _refused(self, cause: Refusal) -> Denied:
        self._on_refusal(cause)
        reason = {
            Refusal.ONE_USER: Reason.USER_BUSY,
            Refusal.BREAKER_OPEN: self._service.unavailable,
        }.get(cause, self._service.busy)
        return Denied(reason, _REFUSALS[cause])

    def _report(self, outcome: BaseException | None, logged: Mapping[str, str], seconds: float) -> None:
        """Report the end of a call to the breaker, the metrics and the log."""
        if outcome is None:
            self.breaker.succeeded()
            self._on_outcome("ok", "", seconds)
            return
        if not isinstance(outcome, Denied):  # a bug, which shows nothing about the service
            self.breaker.abandoned()
            return
        if outcome.reason in self._service.failures:
            self.breaker.failed()
        else:
            self.breaker.succeeded()
        self._on_outcome(outcome.reason.value, outcome.code, seconds)
        log = _log.error if outcome.reason in self._service.operator_errors else _log.warning
        log(self._service.failed, reason=outcome.reason.value, detail=outcome.detail, **logged)

    def close(self) -> None:
        """Accept no more calls; running ones end by themselves."""
        self._pool.close()


class _BreakerOpenError(Exception):
    """The breaker was open when a job was about to start."""


class _Call:
    """A call whose end is reported once: when its thread is free, or earlier at the deadline.

    It is reported to the breaker also if the waiting request was cancelled. Otherwise a probe could end
    without a report, and the breaker would admit no call again.
    """

    def __init__(
        self,
        report: Callable[[BaseException | None, Mapping[str, str], float], None],
        logged: Mapping[str, str],
        job: Job[Any],
    ) -> None:
        self._report = report
        self._logged = logged
        self._job = job
        self._reported = False
        job.result.add_done_callback(self._ended)

    def _ended(self, result: asyncio.Future[Any]) -> None:
        if self._job.began is None or self._reported:  # not called, or the end is reported already
            return
        self._reported = True
        outcome = asyncio.CancelledError() if result.cancelled() else result.exception()
        self._report(outcome, self._logged, time.monotonic() - self._job.began)

    def end(self, denied: Denied) -> Denied:
        """Report the deadline as the end of the call, and return ``denied``."""
        assert self._job.began is not None  # noqa: S101 - a job that had not begun at the deadline was cancelled
        self._reported = True
        self._report(denied, self._logged, time.monotonic() - self._job.began)
        return denied
