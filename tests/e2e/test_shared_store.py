"""Several instances behind a real Envoy share credentials and revocations through a real store."""

import asyncio
import collections
import logging
import random
import time

import pytest
import structlog

from support import stores
from support.http import client
from support.replicas import Replicas
from support.supervised import until


@pytest.fixture
def store():
    with stores.Server() as server:
        yield server


def replicas(store, directory, count):
    secret_file = str(stores.secret_file(directory))
    # Patience is not what these are about, and the machine may be busy.
    return Replicas(directory, count, {"url": store.url, "secret_file": secret_file, "timeout": 1.0})


def tokens(stack, count):
    return [stack.token("demo-admin", user=f"user-{number}") for number in range(count)]


def test_two_instances_share_exchanges_and_revocations_and_keep_both_over_restarts(store, tmp_path):
    with replicas(store, tmp_path, 2) as stack:
        until(lambda: stack.healthy() == 2, "both are healthy")
        users = tokens(stack, 8)
        requests = users * 4
        random.shuffle(requests)
        assert {stack.ask(token) for token in requests} == {200}
        assert stack.exchanges()["ok"] == 8

        revoked = stack.call_admin(0, "revoke", "--subject", "user-3")
        assert (revoked.returncode, revoked.stderr) == (0, "")
        assert "confirmed by 2 of 2 replicas" in revoked.stdout
        assert {stack.ask(users[3]) for _ in range(6)} == {403}
        for number in (0, 1):
            stack.restart(number)
        assert {stack.ask(token) for token in requests if token != users[3]} == {200}
        assert stack.exchanges()["ok"] == 8
        assert {stack.ask(users[3]) for _ in range(6)} == {403}
        assert "2 of 2" in stack.call_admin(1, "undeny", "--subject", "user-3").stdout
        assert {stack.ask(users[3]) for _ in range(6)} == {200}

        store.kill()
        assert {stack.ask(token) for token in tokens(stack, 4)} == {200}
        revoked = stack.call_admin(0, "revoke", "--subject", "user-4")
        assert revoked.returncode == 1
        assert "the shared store did not take it" in revoked.stderr
        assert "shared store: not available" in stack.call_admin(0, "status").stdout
        log = "".join(path.read_text() for path in tmp_path.glob("extproc-*.log"))
        assert not any(token in log for token in users)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("killed", [False, True])
async def test_a_thousand_users_at_five_instances_are_a_thousand_exchanges(store, tmp_path, killed, capsys):
    """With an instance killed in between, at most two in a hundred more."""
    with replicas(store, tmp_path, 5) as stack:
        until(lambda: stack.healthy() == 5, "all are healthy")
        users = await asyncio.to_thread(tokens, stack, 1000)
        requests = users * 10
        random.shuffle(requests)
        statuses, work, began = collections.Counter(), iter(requests), time.monotonic()
        async with client() as http:

            async def load():
                for token in work:
                    answer = await http.get(
                        f"http://{stack.addresses.envoy}/echo", headers={"authorization": f"Bearer {token}"}
                    )
                    statuses[answer.status_code] += 1
                    if killed and sum(statuses.values()) == len(requests) // 4:
                        stack.stop_replica(4, kill=True)

            await asyncio.gather(*(load() for _ in range(16)))
        exchanges = stack.exchanges()["ok"]
        shown = stack.store_metrics()
        with capsys.disabled():
            print(
                f"\n5 instances, killed: {killed}: {dict(statuses)} in {time.monotonic() - began:.0f} s, "
                f"{exchanges} exchanges of {len(users)} users; {shown}"
            )
        assert exchanges <= (1.02 if killed else 1.0) * len(users)
        assert statuses[200] >= len(requests) - (16 if killed else 0)  # those that were under way


class OwnTime:
    """Time in which pauses of this process count for 5 ms at most: those are no delays by the store."""

    def __init__(self):
        self.now = 0.0

    async def run(self):
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.001)
            before, now = time.monotonic(), before
            self.now += min(before - now, 0.005)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [60])
async def test_a_frozen_store_fails_no_request_and_holds_up_first_ones_for_150_ms_at_most(
    store, seconds, capsys
):
    """500 lookups a second, one in five a first one, while the store is frozen."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sts_takes, rate = 0.05, 500
    sts = stores.CountedSts(seconds=sts_takes)
    async with stores.Replica(store, sts, timeout=0.1) as one:
        warm = [stores.wanted(f"warm-{number}") for number in range(100)]
        new = iter([stores.wanted(f"first-{number}") for number in range(seconds * rate // 5 + 1)])
        for user in warm:
            await one.obtain(user)
        first, again, waiting, clock = [], [], set(), OwnTime()
        ticking = asyncio.create_task(clock.run())
        store.freeze()

        async def ask(user, took):
            began, began_at = clock.now, time.monotonic()
            credentials = await one.obtain(user)
            took.append((clock.now - began, time.monotonic() - began_at))
            assert credentials.session_token.startswith(f"{user.token} ")

        began, number = time.monotonic(), 0
        while (now := time.monotonic()) - began < seconds:
            while number < (now - began) * rate:
                work = ask(warm[number % 100], again) if number % 5 else ask(next(new), first)
                waiting.add(task := asyncio.create_task(work))
                task.add_done_callback(waiting.discard)
                number += 1
            await asyncio.sleep(0.002)
        await asyncio.gather(*waiting)
        store.thaw()
        ticking.cancel()
        p99, p99_with_pauses = (sorted(each)[len(first) * 99 // 100] for each in zip(*first, strict=True))
        longest, _ = max(first)
        warm_p99 = sorted(again)[len(again) * 99 // 100][0]
        with capsys.disabled():
            print(
                f"\nfrozen for {seconds} s: {number} requests; first ones p99 {p99:.3f} s, longest {longest:.3f} s, "
                f"of which STS takes {sts_takes} s (p99 with pauses of the process {p99_with_pauses:.3f} s); "
                f"warm p99 {warm_p99:.6f} s; {dict(one.shared.counts().calls)}"
            )
        assert len(first) + len(again) == number
        assert p99 <= sts_takes + 0.15
