"""Exchanges within a budget: a bounded pool and queue, a deadline, a circuit breaker."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import structlog

from extproc.credentials.breaker import CircuitBreaker
from extproc.errors import Denied, Reason
from extproc.values import Credentials, Grant

_NO_ANSWER = frozenset({Reason.STS_UNAVAILABLE, Reason.STS_THROTTLED})
"""What counts against the endpoint. A provider that STS cannot reach is no fault of STS."""

_OPERATORS_PROBLEM = frozenset({Reason.STS_MISCONFIGURED, Reason.STS_ACCESS_DENIED, Reason.STS_TOKEN_REFUSED})

_log = structlog.get_logger(__name__)


class Sts(Protocol):
    """Blocking calls to STS."""

    def assume(self, unverified_for_sts: str, grant: Grant) -> Credentials:
        """Exchange a token under a grant; raises ``Denied``."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class StsExchange:
    """Runs exchanges in threads. Belongs to one event loop.

    ``deadline``: seconds that one exchange may take as a request sees it. ``max_waiting``
    exchanges may be under way or queued; further ones are refused at once.
    ``on_outcome`` is told of each exchange "ok" or the reason, STS's error code, and the seconds it took.
    """

    def __init__(
        self,
        *,
        sts: Sts,
        breaker: CircuitBreaker,
        deadline: float,
        workers: int,
        max_waiting: int,
        on_outcome: Callable[[str, str, float], None] = lambda _outcome, _code, _seconds: None,
    ) -> None:
        self._sts = sts
        self._breaker = breaker
        self._deadline = deadline
        self._max_waiting = max_waiting
        self._waiting = 0
        self._on_outcome = on_outcome
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="sts")

    @property
    def waiting(self) -> int:
        """Exchanges under way or queued."""
        return self._waiting

    async def exchange(self, unverified_for_sts: str, grant: Grant) -> Credentials:
        """Exchange one token under one grant.

        Raises:
            Denied: with an STS reason; ``STS_UNAVAILABLE`` at once when the queue is full
                or the breaker open.
        """
        if self._waiting >= self._max_waiting:
            raise Denied(Reason.STS_UNAVAILABLE, "too many exchanges are waiting")
        if not self._breaker.admits():
            raise Denied(Reason.STS_UNAVAILABLE, "the circuit breaker is open")
        began = time.perf_counter()
        try:
            credentials = await self._within_deadline(unverified_for_sts, grant)
        except Denied as denied:
            self._report(denied, grant, time.perf_counter() - began)
            raise
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        self._on_outcome("ok", "", time.perf_counter() - began)
        return credentials

    async def _within_deadline(self, token: str, grant: Grant) -> Credentials:
        work = self._pool.submit(self._sts.assume, token, grant)
        self._waiting += 1
        loop = asyncio.get_running_loop()

        def no_longer_waiting(_work: Future[Credentials]) -> None:
            # Only when the thread is really free: a hanging STS must not be asked more and more.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._finished)

        work.add_done_callback(no_longer_waiting)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), self._deadline)
        except TimeoutError:
            work.cancel()  # takes it off the queue if no thread has begun it
            raise Denied(Reason.STS_UNAVAILABLE, f"no answer within {self._deadline} s") from None

    def _finished(self) -> None:
        self._waiting -= 1

    def _report(self, denied: Denied, grant: Grant, seconds: float) -> None:
        if denied.reason in _NO_ANSWER:
            self._breaker.failed()
        else:
            self._breaker.succeeded()
        self._on_outcome(denied.reason.value, denied.code, seconds)
        log = _log.error if denied.reason in _OPERATORS_PROBLEM else _log.warning
        log("exchange_failed", reason=denied.reason.value, detail=denied.detail, role_arn=grant.role_arn)

    def close(self) -> None:
        """Let running exchanges end; take no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._sts.close()
