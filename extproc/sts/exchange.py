"""Exchanges within a budget: a few threads shared fairly, a deadline, a circuit breaker."""

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Protocol

import structlog

from extproc.errors import Denied, Reason
from extproc.fairness.pool import Busy, BusyError, FairPool, Job
from extproc.sts.breaker import CircuitBreaker
from extproc.sts.errors import known_errors
from extproc.values import Credentials, Grant, Session

_NO_ANSWER = frozenset({Reason.STS_UNAVAILABLE, Reason.STS_THROTTLED})
"""What counts against the endpoint. A provider that STS cannot reach is no fault of STS."""

_OPERATORS_PROBLEM = frozenset({Reason.STS_MISCONFIGURED, Reason.STS_ACCESS_DENIED, Reason.STS_TOKEN_REFUSED})

EXCHANGE_OUTCOMES = (("ok", ""), (Reason.STS_UNAVAILABLE.value, ""), *known_errors())
"""Every outcome of a call of STS and error code that ``StsExchange`` reports; without a code: no answer."""

_log = structlog.get_logger(__name__)


class Refusal(StrEnum):
    """Why STS was not asked: the values of the label ``cause`` of ``extproc_exchanges_refused_total``."""

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
    """A job's turn came while the breaker was open."""


class Sts(Protocol):
    """Blocking calls to STS."""

    def assume(self, unverified_web_identity_token: str, grant: Grant, until: float) -> Credentials:
        """Exchange a token under a grant, and return by ``until`` (monotonic seconds); raises ``Denied``."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class StsExchange:
    """Runs exchanges in threads. Belongs to one event loop.

    Attributes:
        deadline: seconds that one exchange may take as a request sees it, waiting included.
        max_waiting: exchanges waiting or under way; further ones are refused at once.
        max_of_one: the same for one (issuer, subject).
        on_outcome: receives "ok" or the reason, STS's error code, and seconds, of each call of STS.
        on_refusal: receives the cause of each refusal without a call of STS.
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
        """Exchanges under way or queued."""
        return len(self._pool)

    async def exchange(self, session: Session, grant: Grant) -> Credentials:
        """Exchange a session's token under one grant.

        Raises:
            Denied: with an STS reason; at once when the user or the queue has too many, when
                its turn would come too late, and while the breaker is open.
        """
        if not self._breaker.would_admit():
            raise self._refused(Refusal.BREAKER_OPEN)
        work = partial(
            self._sts.assume, session.unverified_web_identity_token, grant, time.monotonic() + self._deadline
        )
        try:
            job = self._pool.submit(session.identity.owner, work, within=self._deadline)
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
        """Tell the breaker, the metrics and the log how a call of STS ended."""
        if outcome is None:
            self._breaker.succeeded()
            self._on_outcome("ok", "", seconds)
            return
        if not isinstance(outcome, Denied):  # a bug, which says nothing of STS
            self._breaker.abandoned()
            return
        if outcome.reason in _NO_ANSWER:
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        self._on_outcome(outcome.reason.value, outcome.code, seconds)
        log = _log.error if outcome.reason in _OPERATORS_PROBLEM else _log.warning
        log("exchange_failed", reason=outcome.reason.value, detail=outcome.detail, role_arn=grant.role_arn)

    def close(self) -> None:
        """Let running exchanges end; take no more."""
        self._pool.close()
        self._sts.close()


class _Call:
    """A call of STS, whose end is reported once: when its thread is free, or before that at the deadline.

    Whoever waits for it may leave, and the breaker hears of it all the same.
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
        if self._job.began is None or self._reported:  # STS was not asked, or is reported already
            return
        self._reported = True
        outcome = asyncio.CancelledError() if result.cancelled() else result.exception()
        self._report(outcome, self._grant, time.monotonic() - self._job.began)

    def end(self, denied: Denied) -> Denied:
        """Report the deadline as the end of the call; return ``denied``."""
        assert self._job.began is not None  # noqa: S101 - what had not begun at the deadline was cancelled
        self._reported = True
        self._report(denied, self._grant, time.monotonic() - self._job.began)
        return denied
