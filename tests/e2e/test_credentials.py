"""Credentials under trouble, through the real Envoy: STS down, refusing, hanging; and what gets written down."""

import asyncio
import time

import pytest

from support.http import client
from support.stacks import ImpatientStack, Stack


@pytest.fixture
def fragile(tmp_path):
    """A stack whose breaker opens quickly and probes every second."""

    def adjust(text):
        return text.replace(
            "sts:\n", "sts:\n  breaker_failures: 3\n  breaker_seconds: 1.0\n  deadline: 1.5\n"
        )

    with Stack(tmp_path, adjust=adjust) as stack:
        yield stack


async def post(http, stack):
    return await http.post(f"http://{stack.addresses.envoy}/echo", content=b"{}")


async def test_while_sts_is_down_living_sessions_work_new_ones_get_503_and_one_probe_recovers(fragile):
    living = fragile.token("demo-admin")
    async with client(token=living) as old, client() as http:
        assert (await post(old, fragile)).status_code == 200
        fragile.control("sts", "reset", {})
        fragile.control("sts", "faults", {"mode": "fail"})
        began, statuses, slowest = time.monotonic(), [], 0.0
        newcomers = [await asyncio.to_thread(fragile.token, "demo-developer") for _ in range(30)]
        while time.monotonic() - began < 4:
            await asyncio.sleep(0.2)
            assert (await post(old, fragile)).status_code == 200
            for token in newcomers:
                asked = time.monotonic()
                answer = await http.post(
                    f"http://{fragile.addresses.envoy}/echo",
                    content=b"{}",
                    headers={"authorization": f"Bearer {token}"},
                )
                slowest = max(slowest, time.monotonic() - asked)
                statuses.append((answer.status_code, "retry-after" in answer.headers))
        lasted = time.monotonic() - began
        assert set(statuses) == {(503, True)}
        assert slowest < 5
        # Three failures open the breaker, then one probe a second; botocore tries each call twice.
        calls = fragile.control("sts", "stats")["calls"]
        assert calls <= 2 * (3 + lasted + 1), (calls, len(statuses))
        assert len(statuses) > 3 * calls
        fragile.control("sts", "faults", {"mode": None})
        await asyncio.sleep(1.1)
        answer = await http.post(
            f"http://{fragile.addresses.envoy}/echo",
            content=b"{}",
            headers={"authorization": f"Bearer {newcomers[0]}"},
        )
        assert answer.status_code == 200
    stats = fragile.control("mcp", "stats")
    assert stats["received"] == stats["verified"]


async def test_a_looping_client_that_sts_refuses_does_not_hammer_sts(stack):
    stack.control("sts", "faults", {"mode": "access_denied"})
    async with client(token=stack.token("demo-admin")) as http:
        answers = [await post(http, stack) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {403}
    assert stack.control("sts", "stats")["calls"] == 1


@pytest.fixture
def observing(tmp_path):
    """A stack whose server looks at upstream answers, and replaces refused credentials without waiting."""

    with ImpatientStack(tmp_path, adjust=lambda text: text + "observe_upstream: true\n") as stack:
        yield stack


async def test_credentials_that_the_upstream_no_longer_knows_are_replaced(observing):
    async with client(token=observing.token("demo-admin")) as http:
        assert [(await post(http, observing)).status_code for _ in range(5)] == [200] * 5
        # An STS that was restarted has forgotten what it issued, and so has the upstream.
        await asyncio.to_thread(observing.stop_part, "sts")
        observing.start_part("sts")
        await asyncio.to_thread(observing.wait_ready, "sts")
        observing.control("mcp", "reset", {})
        assert (await post(http, observing)).status_code == 403
        assert (await post(http, observing)).status_code == 200
    assert observing.control("sts", "stats")["calls"] == 1
