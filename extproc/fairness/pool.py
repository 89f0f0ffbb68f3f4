"""A thread pool for blocking work that users share fairly, with limits that refuse at once.

Belongs to one event loop.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import Any, Generic, TypeVar

from extproc.fairness.queue import FairQueue, Owner

Result = TypeVar("Result")

_WEIGHT = 0.2  # of the newest duration in the moving average


class Busy(StrEnum):
    """Why work was refused."""

    OF_ONE_USER = "one_user"
    """The user has as many jobs as one user may."""
    QUEUE_FULL = "queue_full"
    TOO_SLOW = "too_slow"
    """Its turn would come too late, at the rate at which work gets done now."""


class BusyError(Exception):
    """Work was refused at once."""

    def __init__(self, cause: Busy) -> None:
        super().__init__(cause.value)
        self.cause = cause


class Job(Generic[Result]):
    """Work in the pool.

    Attributes:
        began: when it began, by the pool's timer in seconds; None while it waits.
        result: set when the thread is free again. Cancelling it removes waiting work from the queue, and does
            not stop work that has begun.

    """

    __slots__ = ("began", "owner", "result", "work")

    def __init__(self, owner: Owner, work: Callable[[], Result], result: asyncio.Future[Result]) -> None:
        self.owner = owner
        self.work = work
        self.result = result
        self.began: float | None = None


class FairPool:
    """Runs work of many owners.

    Args:
        max_waiting: jobs waiting or under way in all.
        max_of_one: jobs of one owner.
        before_each: called in the event loop before a job begins; what it raises is the job's result.

    """

    def __init__(
        self,
        *,
        workers: int,
        max_waiting: int,
        max_of_one: int,
        name: str,
        before_each: Callable[[], None] = lambda: None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers
        self._max_waiting = max_waiting
        self._max_of_one = max_of_one
        self._before_each = before_each
        self._timer = timer
        self._queue: FairQueue[Job[Any]] = FairQueue()
        self._running = 0
        self._mean: float | None = None
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=name)

    def __len__(self) -> int:
        """Return how many jobs wait or hold a thread."""
        return len(self._queue) + self._running

    def expected_wait(self, owner: Owner) -> float:
        """Return the seconds until a further job of this owner would begin, by how long jobs take now."""
        if self._running < self._workers or self._mean is None:
            return 0.0
        return (self._queue.ahead_of(owner) + 1) * self._mean / self._workers

    def submit(self, owner: Owner, work: Callable[[], Result], *, within: float | None = None) -> Job[Result]:
        """Take work that must begin ``within`` this many seconds.

        Raises:
            BusyError: the owner or the queue has too much, or its turn would come too late.
        """
        if self._queue.outstanding(owner) >= self._max_of_one:
            raise BusyError(Busy.OF_ONE_USER)
        if len(self) >= self._max_waiting:
            raise BusyError(Busy.QUEUE_FULL)
        if within is not None and self.expected_wait(owner) > within:
            raise BusyError(Busy.TOO_SLOW)
        job = Job(owner, work, asyncio.get_running_loop().create_future())
        job.result.add_done_callback(lambda result: self._leave(job, result))
        self._queue.push(owner, job)
        self._begin_next()
        return job

    def _leave(self, job: Job[Any], result: asyncio.Future[Any]) -> None:
        if result.cancelled():
            self._queue.remove(job.owner, job)
        else:
            result.exception()  # marks a failure as retrieved: the wait may have been cancelled

    def _begin_next(self) -> None:
        while self._running < self._workers and (following := self._queue.pop()) is not None:
            owner, job = following
            if job.result.done():  # cancelled a moment ago
                self._queue.done(owner)
                continue
            try:
                self._before_each()
                work = self._threads.submit(job.work)
            except Exception as error:  # noqa: BLE001 - it is the job's result
                self._queue.done(owner)
                job.result.set_exception(error)
                continue
            job.began = began = self._timer()
            self._running += 1
            work.add_done_callback(self._end_in_loop(job, began))

    def _end_in_loop(self, job: Job[Any], began: float) -> Callable[[Future[Any]], None]:
        loop = asyncio.get_running_loop()

        def tell(work: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(self._end, job, began, work)

        return tell

    def _end(self, job: Job[Any], began: float, work: Future[Any]) -> None:
        self._running -= 1
        self._queue.done(job.owner)
        took = self._timer() - began
        self._mean = took if self._mean is None else self._mean + _WEIGHT * (took - self._mean)
        if not job.result.done():
            if work.cancelled():
                job.result.cancel()
            elif (error := work.exception()) is not None:
                job.result.set_exception(error)
            else:
                job.result.set_result(work.result())
        # After the callbacks of that result: they may decide what ``before_each`` says.
        asyncio.get_running_loop().call_soon(self._begin_next)

    def close(self) -> None:
        """Let running work end; begin no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
