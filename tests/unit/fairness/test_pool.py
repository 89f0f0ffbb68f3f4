"""Blocking work in a few threads: begun in fair order, refused at once where it would come too late."""

import asyncio
import threading

import pytest

from extproc.fairness.pool import Busy, BusyError, FairPool
from extproc.fairness.queue import Owner
from support.clock import Clock

A, B, C = (Owner("https://idp.example", name) for name in "abc")


class Parts:
    """A pool whose work waits for ``gate``, and whose clock stands still."""

    def __init__(self, *, workers=1, max_waiting=100, max_of_one=100, **more):
        self.clock = Clock()
        self.gate = threading.Event()
        self.began = []
        self.pool = FairPool(
            workers=workers,
            max_waiting=max_waiting,
            max_of_one=max_of_one,
            name="test",
            timer=self.clock,
            **more,
        )

    def submit(self, owner, **more):
        def work():
            self.began.append(owner)
            assert self.gate.wait(5)
            return owner

        return self.pool.submit(owner, work, **more)

    async def taking(self, seconds):
        """Let one piece of work take that long by the pool's clock."""
        self.gate.clear()
        job = self.submit(Owner("i", "warm up"))
        self.clock.now += seconds
        self.gate.set()
        await job.result
        self.gate.clear()
        self.began.clear()


@pytest.fixture
def make():
    made = []

    def build(**options):
        made.append(Parts(**options))
        return made[-1]

    yield build
    for parts in made:
        parts.gate.set()
        parts.pool.close()


async def test_work_gives_its_result_or_its_exception(make):
    parts = make()
    parts.gate.set()
    assert await parts.submit(A).result == A
    with pytest.raises(ZeroDivisionError):
        await parts.pool.submit(A, lambda: 1 / 0).result
    assert len(parts.pool) == 0


async def test_of_one_owner_only_so_many_are_taken_and_others_are_not_harmed(make):
    parts = make(max_of_one=2)
    jobs = [parts.submit(A), parts.submit(A)]
    with pytest.raises(BusyError) as busy:
        parts.submit(A)
    assert busy.value.cause is Busy.OF_ONE_USER
    jobs.append(parts.submit(B))
    parts.gate.set()
    assert await asyncio.gather(*(job.result for job in jobs)) == [A, A, B]
    assert parts.began == [A, B, A]


async def test_a_full_pool_refuses(make):
    parts = make(max_waiting=2)
    parts.submit(A)
    parts.submit(B)
    with pytest.raises(BusyError) as busy:
        parts.submit(C)
    assert busy.value.cause is Busy.QUEUE_FULL


async def test_work_that_would_wait_too_long_at_the_measured_rate_is_refused_at_once(make):
    parts = make(workers=2)
    await parts.taking(1.0)
    for name in "defgh":  # two under way, three waiting: the next one begins after the fourth end, at 2 s
        parts.submit(Owner("i", name))
    assert parts.pool.expected_wait(C) == pytest.approx(2.0)
    with pytest.raises(BusyError) as busy:
        parts.submit(C, within=1.9)
    assert busy.value.cause is Busy.TOO_SLOW
    assert parts.submit(C, within=2.1).began is None


async def test_no_work_waits_while_a_thread_is_free_however_long_work_took_before(make):
    parts = make(workers=2)
    await parts.taking(1000.0)
    parts.submit(A)
    assert parts.pool.expected_wait(B) == 0
    assert parts.submit(B, within=0.1).began is not None


async def test_the_measure_follows_what_work_takes_now(make):
    parts = make()
    await parts.taking(10.0)
    for _ in range(40):
        await parts.taking(1.0)
    parts.submit(A)
    assert 0.9 < parts.pool.expected_wait(B) < 1.1


async def test_cancelled_work_leaves_the_queue_and_what_is_under_way_ends(make):
    parts = make()
    running, waiting, last = parts.submit(A), parts.submit(B), parts.submit(C)
    waiting.result.cancel()
    running.result.cancel()
    await asyncio.sleep(0)
    assert len(parts.pool) == 2
    parts.gate.set()
    assert await last.result == C
    assert parts.began == [A, C]
    assert len(parts.pool) == 0


async def test_what_stops_work_before_it_begins_is_its_result_and_the_next_is_asked(make):
    def stop():
        raise PermissionError

    parts = make(before_each=stop)
    for owner in (A, B):
        job = parts.submit(owner)
        with pytest.raises(PermissionError):
            await job.result
        assert job.began is None
    assert len(parts.pool) == 0


async def test_a_closed_pool_answers_waiting_requests(make):
    parts = make()
    jobs = [parts.submit(owner) for owner in (A, B, C)]
    parts.pool.close()
    parts.gate.set()
    first, *others = await asyncio.gather(*(job.result for job in jobs), return_exceptions=True)
    assert first == A
    assert all(isinstance(each, RuntimeError) for each in others)


async def test_work_cancelled_when_its_turn_comes_is_not_begun(make):
    parts = make()
    running, waiting, last = parts.submit(A), parts.submit(B), parts.submit(C)
    parts.gate.set()
    await running.result  # and whoever waited for it goes on before the next one begins
    waiting.result.cancel()
    assert await last.result == C
    assert parts.began == [A, C]
    assert len(parts.pool) == 0


async def test_work_that_no_thread_took_before_the_pool_closed_is_cancelled(make):
    parts = make()
    parts.pool._threads.submit(parts.gate.wait, 5)
    job = parts.submit(A)
    parts.pool.close()
    parts.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await job.result
    assert parts.began == []
