"""Patience: calls of the store with a bound on time and on their number, behind a circuit breaker.

Whoever waits for the store could go to STS instead. So a call is given up early, and while the breaker is
open no request waits at all: the regular poll of revocations finds out when the store is back.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

from extproc.shared_store.calls import CallError
from extproc.sts.breaker import CircuitBreaker, State

_TURNS = 5
"""Parts of the patience. The time between two of them counts once, however long this process itself was busy:
after a pause of its own, answers that have come meanwhile are read before the call is given up."""

_TURN_WITHIN = 1.0
"""Seconds that a call waits for its turn while the store answers others: in a burst, that costs less than
exchanges."""

Result = TypeVar("Result")


class Outcome(StrEnum):
    """How a call ended: the values of label ``outcome`` of ``extproc_shared_store_calls_total``."""

    OK = "ok"
    SLOW = "slow"  # no answer within the patience
    FAILED = "failed"  # no connection
    REFUSED = "refused"  # the server answered with an error
    BUSY = "busy"  # no turn within the patience: too many other calls
    SKIPPED = "skipped"  # the breaker was open


class UnavailableError(Exception):
    """The store cannot be used now. The message is for operators."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome


class Patience:
    """Runs calls. Belongs to one event loop.

    Attributes:
        outcomes: how calls ended so far.
        failure: why the last call failed; empty if it did not.
    """

    def __init__(self, *, breaker: CircuitBreaker, seconds: float, at_once: int) -> None:
        self._breaker = breaker
        self._seconds = seconds
        self._slots = Slots(at_once)
        self.outcomes = Counter({outcome.value: 0 for outcome in Outcome})
        self.failure = ""

    @property
    def is_open(self) -> bool:
        """Whether requests do without the store."""
        return self._breaker.state is not State.CLOSED

    async def call(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Return the result of calls of the store that belong together.

        Raises:
            UnavailableError: the breaker is open, the store failed, or it took too long.
        """
        if self.is_open:
            raise self._given_up(Outcome.SKIPPED, self.failure)
        if not await self._slots.acquire():
            if self.is_open:  # since a moment ago
                raise self._given_up(Outcome.SKIPPED, self.failure)
            raise self._given_up(Outcome.BUSY, "too many calls at once")
        task = asyncio.ensure_future(work())
        task.add_done_callback(lambda _task: self._slots.release())
        return await self._result(task, self._seconds)

    async def probe(self, work: Callable[[], Awaitable[Result]], *, seconds: float | None = None) -> Result:
        """Return the result of calls that no request waits for. They wait for no turn.

        They are made while the breaker is half-open, too, and close it if they succeed. Raises as ``call``.
        """
        if not self._breaker.admits():
            raise self._given_up(Outcome.SKIPPED, self.failure)
        return await self._result(asyncio.ensure_future(work()), seconds or self._seconds)

    async def _result(self, task: asyncio.Future[Result], seconds: float) -> Result:
        try:
            for _ in range(_TURNS):
                await asyncio.wait({task}, timeout=seconds / _TURNS)
                if task.done():
                    return self._ended(task)
        except asyncio.CancelledError:
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            task.cancel()
            self._breaker.abandoned()
            raise
        task.add_done_callback(
            lambda ended: ended.cancelled() or ended.exception()
        )  # no one else asks for it
        task.cancel()
        raise self._failed(Outcome.SLOW, f"no answer within {seconds:g} s")

    def _ended(self, task: asyncio.Future[Result]) -> Result:
        try:
            result = task.result()
        except CallError as error:
            if not error.answered:
                raise self._failed(Outcome.FAILED, str(error)) from None
            self.failure = str(error)
            self._breaker.succeeded()
            raise self._given_up(Outcome.REFUSED, str(error)) from None
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        self.failure = ""
        self.outcomes[Outcome.OK] += 1
        return result

    def _failed(self, outcome: Outcome, detail: str) -> UnavailableError:
        self.failure = detail
        self._breaker.failed()
        if self.is_open:
            self._slots.turn_away()
        return self._given_up(outcome, detail)

    def _given_up(self, outcome: Outcome, detail: str) -> UnavailableError:
        self.outcomes[outcome] += 1
        return UnavailableError(outcome, detail)


class Slots:
    """Turns of calls, in the order in which they came. ``turn_away`` ends all waits at once."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[asyncio.Future[bool]] = deque()

    async def acquire(self) -> bool:
        """Wait for a turn, which is to be released; return False if it did not come."""
        if self._free:
            self._free -= 1
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait({turn}, timeout=_TURN_WITHIN)
        except asyncio.CancelledError:
            if not turn.cancel() and turn.result():
                self.release()
            raise
        return not turn.cancel() and turn.result()

    def release(self) -> None:
        """Give a turn to the next that waits."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self._free += 1

    def turn_away(self) -> None:
        """End all waits."""
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(False)
        self._waiting.clear()
