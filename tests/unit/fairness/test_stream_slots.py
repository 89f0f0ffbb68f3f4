"""Slots of open requests: limits in all and of one subject, a bounded wait, and nothing is ever lost."""

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Denied, Reason
from extproc.fairness.queue import Owner
from extproc.fairness.stream_slots import SlotLimit, StreamSlots

ALICE, BOB, CAROL = (Owner("https://idp.example", name) for name in ("alice", "bob", "carol"))
LIMIT = SlotLimit(open=3, of_one=2, waiting=3, seconds=30.0)


def slots(**changes):
    return StreamSlots(
        {"t": SlotLimit(**{**{name: getattr(LIMIT, name) for name in LIMIT.__slots__}, **changes})}
    )


def counts(of):
    seen = of.counts()["t"]
    return seen.open, seen.waiting


def test_a_target_without_limits_has_no_slots():
    assert slots().enter("other", ALICE) is None
    assert StreamSlots().enter("t", ALICE) is None


def test_one_subject_gets_its_share_and_another_what_is_left():
    of = slots()
    first, second, third = (of.enter("t", ALICE) for _ in range(3))
    assert (first.is_open, second.is_open, third.is_open) == (True, True, False)
    assert of.enter("t", BOB).is_open
    assert counts(of) == (3, 1)


def test_the_same_subject_of_another_issuer_is_somebody_else():
    of = slots(of_one=1)
    assert of.enter("t", ALICE).is_open
    assert of.enter("t", Owner("https://other.example", "alice")).is_open


async def test_a_slot_given_back_goes_to_the_subject_with_the_fewest():
    of = slots()
    held = [of.enter("t", ALICE), of.enter("t", ALICE), of.enter("t", BOB)]
    waits = {name: of.enter("t", owner) for name, owner in (("alice", ALICE), ("bob", BOB), ("carol", CAROL))}
    assert not any(slot.is_open for slot in waits.values())
    held[0].leave()
    await waits["carol"].wait()
    assert [name for name, slot in waits.items() if slot.is_open] == ["carol"]


async def test_in_a_full_line_a_newcomer_takes_the_place_of_whoever_has_the_most_waiting():
    of = slots(open=2, of_one=1, waiting=4)
    held = [of.enter("t", ALICE), of.enter("t", BOB)]
    waiting = [of.enter("t", owner) for owner in (ALICE, BOB, ALICE, BOB)]
    newcomer = of.enter("t", CAROL)
    assert counts(of) == (2, 4)
    with pytest.raises(Denied) as crowded_out:
        await waiting[2].wait()
    assert crowded_out.value.reason is Reason.USER_STREAMS
    held[0].leave()
    await newcomer.wait()
    for slot in (*held, *waiting, newcomer):
        slot.leave()
    assert counts(of) == (0, 0)


def test_in_a_full_line_of_as_many_subjects_a_further_request_is_refused():
    of = slots(open=1, of_one=1, waiting=2)
    of.enter("t", ALICE)
    for owner in (BOB, CAROL):
        of.enter("t", owner)
    for owner in (ALICE, BOB):
        with pytest.raises(Denied):
            of.enter("t", owner)
    assert counts(of) == (1, 2)


async def test_a_full_target_refuses_after_the_wait_and_says_whose_fault_it_is():
    of = slots(seconds=0.01)
    for owner in (ALICE, ALICE, BOB):
        of.enter("t", owner)
    for owner, reason in ((CAROL, Reason.TARGET_BUSY), (ALICE, Reason.USER_STREAMS)):
        with pytest.raises(Denied) as denied:
            await of.enter("t", owner).wait()
        assert denied.value.reason is reason
    assert counts(of) == (3, 0)
    assert of.counts()["t"].outcomes == {"served": 0, "busy": 1, "user_busy": 1, "left": 0}


def test_without_a_wait_the_refusal_comes_at_once():
    of = slots(open=1, seconds=0.0)
    of.enter("t", ALICE)
    with pytest.raises(Denied, match="target_busy"):
        of.enter("t", BOB)
    assert counts(of) == (1, 0)


def test_neither_all_nor_one_subject_can_make_the_line_longer_than_it_may_be():
    of = slots(open=1, of_one=1)
    of.enter("t", ALICE)
    of.enter("t", BOB)
    with pytest.raises(Denied, match="target_busy"):
        of.enter("t", BOB)
    of.enter("t", CAROL)
    of.enter("t", ALICE)
    with pytest.raises(Denied, match="target_busy"):
        of.enter("t", Owner("i", "dave"))
    assert counts(of) == (1, 3)


async def test_a_request_that_leaves_the_line_is_not_served():
    of = slots(open=1)
    held = of.enter("t", ALICE)
    waiting = of.enter("t", BOB)
    task = asyncio.create_task(waiting.wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.leave()
    assert counts(of) == (0, 0)


async def test_a_slot_that_opens_as_its_waiter_is_cancelled_is_given_back():
    of = slots(open=1)
    held, waiting = of.enter("t", ALICE), of.enter("t", BOB)
    task = asyncio.create_task(waiting.wait())
    await asyncio.sleep(0)
    held.leave()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts(of) == (0, 0)


async def test_a_slot_may_be_given_back_from_another_thread():
    of = slots(open=1)
    held, waiting = of.enter("t", ALICE), of.enter("t", BOB)
    task = asyncio.create_task(waiting.wait())
    await asyncio.sleep(0)
    threading.Thread(target=held.leave).start()
    await task
    assert waiting.is_open


def test_giving_back_twice_counts_once():
    of = slots()
    held, other = of.enter("t", ALICE), of.enter("t", BOB)
    held.leave()
    held.leave()
    assert counts(of) == (1, 0)
    other.leave()
    assert counts(of) == (0, 0)


async def test_a_slot_that_is_over_is_not_to_be_used():
    of = slots()
    slot = of.enter("t", ALICE)
    slot.leave()
    with pytest.raises(Denied):
        await slot.wait()


def test_other_limits_count_open_requests_and_open_waiting_ones():
    of = slots(open=1)
    held, waiting = of.enter("t", ALICE), of.enter("t", BOB)
    of.apply({"t": LIMIT})
    assert waiting.is_open
    of.apply({"t": SlotLimit(1, 1, 3, 30.0)})
    assert not of.enter("t", CAROL).is_open
    held.leave()
    assert counts(of) == (1, 1)


def test_a_target_that_is_limited_again_remembers_what_is_open():
    of = slots()
    held = of.enter("t", ALICE)
    of.apply({})
    assert of.enter("t", ALICE) is None
    assert of.counts() == {}
    of.apply({"t": LIMIT})
    assert counts(of) == (1, 0)
    held.leave()
    of.apply({})
    of.apply({"t": LIMIT})
    assert counts(of) == (0, 0)


@pytest.mark.parametrize(
    ("whole", "workers", "part"), [((27, 14, 27), 2, (13, 7, 13)), ((2, 1, 2), 4, (1, 1, 1))]
)
def test_workers_share_the_limits_and_each_has_some(whole, workers, part):
    divided = SlotLimit(*whole, 5.0).divided(workers)
    assert (divided.open, divided.of_one, divided.waiting) == part


@given(
    st.lists(st.tuples(st.sampled_from([ALICE, BOB, CAROL]), st.integers(0, 9), st.booleans()), max_size=60)
)
def test_whatever_comes_and_goes_limits_hold_and_all_is_given_back(steps):
    of = slots(waiting=50)
    there = []
    for owner, position, enters in steps:
        if enters or not there:
            try:
                there.append(of.enter("t", owner))
            except Denied:
                continue
        else:
            there.pop(position % len(there)).leave()
        now_open = [slot.owner for slot in there if slot.is_open]
        assert counts(of) == (len(now_open), len(there) - len(now_open))
        assert len(now_open) <= LIMIT.open
        assert all(now_open.count(each) <= LIMIT.of_one for each in (ALICE, BOB, CAROL))
        waiting = [slot.owner for slot in there if not slot.is_open]
        # Nobody waits for what is free.
        assert len(now_open) == LIMIT.open or all(now_open.count(each) == LIMIT.of_one for each in waiting)
    for slot in there:
        slot.leave()
    assert counts(of) == (0, 0)


def test_a_slot_that_opened_as_its_wait_ran_out_stays_open():
    slot = slots(open=1).enter("t", ALICE)
    slot._line.give_up(slot)
    assert slot.is_open
