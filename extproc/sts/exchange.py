"""Exchanges with limits: a few threads that users share fairly, a deadline, a circuit breaker."""

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Protocol

import structlog

from extproc.errors import Denied, Reason
from extproc.fairness.pool import Busy, BusyError, FairPool, Job
from extproc.fairness.queue import Owner
from extproc.sts.breaker import CircuitBreaker
from extproc.sts.errors import known_errors
from extproc.values import Credentials, Grant

_ENDPOINT_FAILURES = frozenset({Reason.STS_UNAVAILABLE, Reason.STS_THROTTLED})
"""Reasons that count as failures of the endpoint. A provider that STS cannot reach is not one."""

_OPERATOR_ERRORS = frozenset({Reason.STS_MISCONFIGURED, Reason.STS_ACCESS_DENIED, Reason.STS_TOKEN_REFUSED})

EXCHANGE_OUTCOMES = (("ok", ""), (Reason.STS_UNAVAILABLE.value, ""), *known_errors())
"""Every pair of outcome and STS error code that ``StsExchange`` reports; no code if STS did not answer."""

_log = structlog.get_logger(__name__)


class Refusal(StrEnum):
    """Why STS was not called: the values of label ``cause`` of ``extproc_exchanges_refused_total``."""

    ONE_USER = Busy.OF_ONE_USER.value
    QUEUE_FULL = Busy.QUEUE_FULL.value
    TOO_SLOW = Busy.TOO_SLOW.value
    WAITED_TOO_LONG = "waited_too_long"
    BREAKER_OPEN = "breaker_open"


_REFUSALS = {
    Refusal.ONE_USER: (Reason.USER_BUSY, "too many exchanges of this user are waiting"),
    Refusal.QUEUE_FULL: (Reason.STS_BUSY, "too many exchanges are waiting"),
    Refusal.TOO_SLOW: (Reason.STS_BUSY, "the turn of this exchange would come after its deadline"),
    Refusal.WAITED_TOO_LONG: (Reason.STS_BUSY, "the turn of this exchange did not come before its deadline"),
    Refusal.BREAKER_OPEN: (Reason.STS_UNAVAILABLE, "the circuit breaker is open"),
}


class _BreakerOpenError(Exception):
    """The breaker was open when a job was about to start."""


class Sts(Protocol):
    """Blocking calls to STS."""

    def assume(self, unverified_web_identity_token: str, grant: Grant, until: float) -> Credentials:
        """Return the credentials of a grant by ``until`` (monotonic seconds); raise ``Denied``."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class StsExchange:
    """Runs exchanges in threads. Belongs to one event loop.

    Attributes:
        deadline: seconds that one exchange may take for a request, waiting for a thread included.
        workers: number of threads.
        max_waiting: limit of exchanges waiting or under way; further ones are refused at once.
        max_of_one: the same limit for one (issuer, subject).
        on_outcome: called after each call of STS with "ok" or the reason, STS's error code, and seconds.
        on_refusal: called with the cause of each refusal without a call of STS.
    """

    def __init__(
        self,
        *,
        sts: Sts,
        breaker: CircuitBreaker,
        deadline: float,
        workers: int,
        max_waiting: int,
        max_of_one: int = 4,
        on_outcome: Callable[[str, str, float], None] = lambda _outcome, _code, _seconds: None,
        on_refusal: Callable[[str], None] = lambda _cause: None,
    ) -> None:
        self._sts = sts
        self._breaker = breaker
        self._deadline = deadline
        self._on_outcome = on_outcome
        self._on_refusal = on_refusal
        self._pool = FairPool(
            workers=workers,
            max_waiting=max_waiting,
            max_of_one=max_of_one,
            name="sts",
            before_each=self._ask_breaker,
        )

    @property
    def waiting(self) -> int:
        """Number of exchanges under way or queued."""
        return len(self._pool)

    async def exchange(self, owner: Owner, unverified_web_identity_token: str, grant: Grant) -> Credentials:
        """Exchange a user's token for the credentials of one grant.

        Raises:
            Denied: with a reason of STS's; at once if the user or the queue has too many exchanges, if
                its turn would come after the deadline, or while the breaker is open.
        """
        if not self._breaker.would_admit():
            raise self._refused(Refusal.BREAKER_OPEN)
        work = partial(
            self._sts.assume, unverified_web_identity_token, grant, time.monotonic() + self._deadline
        )
        try:
            job = self._pool.submit(owner, work, within=self._deadline)
        except BusyError as busy:
            raise self._refused(Refusal(busy.cause)) from None
        call = _Call(self._report, grant, job)
        try:
            await asyncio.wait({job.result}, timeout=self._deadline)
        finally:
            if job.began is None:
                job.result.cancel()
        if not job.result.done():
            raise call.end(Denied(Reason.STS_UNAVAILABLE, f"no answer within {self._deadline} s"))
        if job.result.cancelled():
            raise self._refused(Refusal.WAITED_TOO_LONG)
        try:
            return job.result.result()
        except _BreakerOpenError:
            raise self._refused(Refusal.BREAKER_OPEN) from None

    def _ask_breaker(self) -> None:
        if not self._breaker.admits():
            raise _BreakerOpenError

    def _refused(self, cause: Refusal) -> Denied:
        self._on_refusal(cause)
        return Denied(*_REFUSALS[cause])

    def _report(self, outcome: BaseException | None, grant: Grant, seconds: float) -> None:
        """Report the end of a call of STS to the breaker, the metrics and the log."""
        if outcome is None:
            self._breaker.succeeded()
            self._on_outcome("ok", "", seconds)
            return
        if not isinstance(outcome, Denied):  # a bug, which shows nothing about STS
            self._breaker.abandoned()
            return
        if outcome.reason in _ENDPOINT_FAILURES:
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        self._on_outcome(outcome.reason.value, outcome.code, seconds)
        log = _log.error if outcome.reason in _OPERATOR_ERRORS else _log.warning
        log("exchange_failed", reason=outcome.reason.value, detail=outcome.detail, role_arn=grant.role_arn)

    def close(self) -> None:
        """Accept no more exchanges; running ones end by themselves."""
        self._pool.close()
        self._sts.close()


class _Call:
    """A call of STS whose end is reported once: when its thread is free, or earlier at the deadline.

    It is reported to the breaker also if the waiting request was cancelled. Otherwise a probe could end
    without a report, and the breaker would admit no call again.
    """

    def __init__(
        self,
        report: Callable[[BaseException | None, Grant, float], None],
        grant: Grant,
        job: Job[Credentials],
    ) -> None:
        self._report = report
        self._grant = grant
        self._job = job
        self._reported = False
        job.result.add_done_callback(self._ended)

    def _ended(self, result: asyncio.Future[Credentials]) -> None:
        if self._job.began is None or self._reported:  # STS was not called, or the end is reported already
            return
        self._reported = True
        outcome = asyncio.CancelledError() if result.cancelled() else result.exception()
        self._report(outcome, self._grant, time.monotonic() - self._job.began)

    def end(self, denied: Denied) -> Denied:
        """Report the deadline as the end of the call, and return ``denied``."""
        assert self._job.began is not None  # noqa: S101 - a job that had not begun at the deadline was cancelled
        self._reported = True
        self._report(denied, self._grant, time.monotonic() - self._job.began)
        return denied
