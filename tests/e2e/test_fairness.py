"""Nobody keeps others from STS: not one user's tokens, and not an STS that never ends its answers."""

import asyncio
import time

import pytest

from support.http import client
from support.stacks import Stack

LATENCY = 0.15  # seconds of the demo's STS
NEWCOMERS = 20


@pytest.fixture
def slow_sts(stack):
    stack.control("sts", "faults", {"mode": None, "delay": LATENCY})
    return stack


def tokens(stack, user, count):
    """So many different tokens of one user."""
    found = [stack.token("demo-admin", user=user, jti=f"{user}-{n}") for n in range(count)]
    assert len(set(found)) == count
    return found


async def status_of(http, stack, token):
    answer = await http.post(
        f"http://{stack.addresses.envoy}/echo", content=b"{}", headers={"authorization": f"Bearer {token}"}
    )
    return answer.status_code


def exchanged(stack):
    """How many exchanges STS made, by subject, in the order in which each came first."""
    return stack.control("sts", "stats")["by_subject"]


async def test_one_user_with_ever_fresh_tokens_keeps_no_newcomer_out(slow_sts):
    stack = slow_sts
    mine = await asyncio.to_thread(tokens, stack, "flood", 600)
    theirs = [await asyncio.to_thread(tokens, stack, f"newcomer-{n}", 1) for n in range(NEWCOMERS)]
    outcomes, over = [], asyncio.Event()

    async with client() as attacker, client() as http:

        async def attack():
            while mine and not over.is_set():
                outcomes.append(await status_of(attacker, stack, mine.pop()))

        attacks = [asyncio.create_task(attack()) for _ in range(60)]
        while not outcomes:  # noqa: ASYNC110 - until it is under way
            await asyncio.sleep(0.01)
        assert [await status_of(http, stack, token) for (token,) in theirs[:5]] == [200] * 5
        served = await asyncio.gather(*(status_of(http, stack, token) for (token,) in theirs[5:]))
        assert not over.is_set()
        assert any(not task.done() for task in attacks)  # it went on all the time
        over.set()
        await asyncio.gather(*attacks)
    assert served == [200] * (NEWCOMERS - 5)
    assert set(outcomes) <= {200, 429}  # the flood's own, in turns, and the rest of them refused
    assert 200 in outcomes
    stats = stack.control("mcp", "stats")
    assert stats["received"] == stats["verified"]


async def test_many_sessions_of_one_user_at_once_are_served_within_a_pause(slow_sts):
    """An agent that opens a dozen sessions at the start is no attack."""
    mine = await asyncio.to_thread(tokens, slow_sts, "agent", 12)
    async with client() as http:
        statuses = await asyncio.gather(*(status_of(http, slow_sts, token) for token in mine))
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 8  # at once four, and after the pause at least four
        assert [await status_of(http, slow_sts, token) for token in mine] == [200] * 12


@pytest.fixture
def dripping(tmp_path):
    """The defaults, but for nothing."""
    with Stack(tmp_path) as stack:
        yield stack


async def test_two_seconds_after_a_dripping_sts_is_well_exchanges_succeed(dripping):
    stack = dripping
    before = [await asyncio.to_thread(stack.token, "demo-admin", user=f"before-{n}") for n in range(40)]
    after = [await asyncio.to_thread(stack.token, "demo-admin", user=f"after-{n}") for n in range(10)]
    async with client(timeout=30) as http:
        stack.control("sts", "faults", {"mode": "drip"})
        # More than there are threads, one after another for longer than an exchange may take.
        ended = time.monotonic() + 8
        statuses = []

        async def try_to_open(token):
            while time.monotonic() < ended:
                statuses.append(await status_of(http, stack, token))
                await asyncio.sleep(1)

        trying = [asyncio.create_task(try_to_open(token)) for token in before]
        await asyncio.sleep(8)
        assert set(statuses) == {503}
        stack.control("sts", "faults", {"mode": None})
        await asyncio.sleep(2)
        assert await asyncio.gather(*(status_of(http, stack, token) for token in after)) == [200] * 10
        await asyncio.gather(*trying)
