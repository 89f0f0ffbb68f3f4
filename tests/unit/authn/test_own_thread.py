"""Blocking work in a thread of its own: its outcome is awaited, and it does not delay the exit."""

import asyncio
import threading

import pytest

from extproc.authn.own_thread import in_own_thread


async def test_the_outcome_comes_back_and_the_work_was_elsewhere():
    assert await in_own_thread(threading.current_thread, name="work") is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        await in_own_thread(lambda: 1 / 0, name="work")


async def test_any_number_of_hanging_ones_holds_up_no_further_one():
    end = threading.Event()
    hanging = [asyncio.ensure_future(in_own_thread(end.wait, name="work")) for _ in range(100)]
    await asyncio.sleep(0)
    assert await in_own_thread(lambda: "done", name="work") == "done"
    end.set()
    assert all(await asyncio.gather(*hanging))


async def test_one_who_leaves_leaves_the_thread_to_itself():
    end = threading.Event()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(in_own_thread(end.wait, name="work"), 0.01)
    end.set()
    assert await in_own_thread(lambda: threading.current_thread().daemon, name="work")
