"""One piece of work for all who ask at the same time."""

import asyncio

import pytest

from extproc.caching.single_flight import SingleFlight


class Work:
    def __init__(self, result="done"):
        self.calls = 0
        self.result = result
        self.gate = asyncio.Event()

    async def __call__(self):
        self.calls += 1
        await self.gate.wait()
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


async def test_concurrent_requests_for_a_key_share_one_run_and_keys_do_not_mix():
    flights, work, other = SingleFlight(), Work("a"), Work("b")
    tasks = [flights.run("k", work) for _ in range(1000)]
    another = flights.run("other", other)
    await asyncio.sleep(0)
    work.gate.set()
    other.gate.set()
    assert set(await asyncio.gather(*tasks)) == {"a"}
    assert await another == "b"
    assert (work.calls, other.calls) == (1, 1)
    await asyncio.sleep(0)
    assert len(flights) == 0


async def test_a_failure_reaches_all_and_the_next_one_tries_anew():
    flights, work = SingleFlight(), Work(ValueError("no"))
    work.gate.set()
    waiting = [asyncio.shield(flights.run("k", work)) for _ in range(3)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, ValueError) for outcome in outcomes)
    work.result = "fine"
    assert await flights.run("k", work) == "fine"


@pytest.mark.parametrize("steps", [0, 1])
async def test_cancelled_work_is_not_joined_by_later_requests(steps):
    flights, work = SingleFlight(), Work()
    task = flights.run("k", work)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    work.gate.set()
    assert await flights.run("k", work) == "done"


async def test_a_failure_without_a_waiting_request_is_not_reported():
    flights, work = SingleFlight(), Work(ValueError("no"))
    work.gate.set()
    flights.run("k", work)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(flights) == 0
