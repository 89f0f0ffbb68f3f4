"""Things break at random while several users are served: what is signed is right, and failures have a reason.

``EXTPROC_CHAOS_SECONDS`` makes it last longer, ``EXTPROC_CHAOS_SEED`` repeats a run.
"""

import asyncio
import collections
import contextlib
import os
import random
import re
import signal
import time

import pytest
import yaml

from extproc.demo.ports import free_ports
from support.http import client
from support.stacks import Stack
from support.supervised import children, until

pytestmark = pytest.mark.long  # ten seconds of faults and their recoveries, under load

SECONDS = float(os.environ.get("EXTPROC_CHAOS_SECONDS", "10"))
SEED = int(os.environ.get("EXTPROC_CHAOS_SEED", str(random.randrange(10_000))))
USERS = ("demo-admin", "demo-developer")
CONCURRENCY = 3  # for each user
IN_A_ROW = 10
NEW_TOKEN = 0.05  # share of requests before which a user logs in again
DISRUPTING = {"kill": {500, 503, 504}, "stop": {500, 503, 504}, "sts fails": {503}, "keys rotate": {401}}
"""What may be answered while a fault lasts; whatever is not here may not be noticed at all."""


@pytest.fixture
def stack(tmp_path):
    def adjust(text):
        settings = yaml.safe_load(text)
        settings["listen"]["grpc"] = [settings["listen"]["grpc"], f"127.0.0.1:{free_ports(1)[0]}"]
        settings["sts"]["breaker_seconds"] = 1.0
        settings["refresh"] = {"cooldown": 1}  # new keys are looked for at most so often
        return yaml.safe_dump(settings)

    with Stack(tmp_path, adjust=adjust, workers=2) as running:
        yield running


def is_whole(stack):
    ready = stack.http.request("GET", f"http://{stack.addresses.extproc_admin}/readyz").status == 200
    stats = stack.http.request("GET", f"http://{stack.addresses.envoy_admin}/stats").data.decode()
    return ready and "cluster.extproc.membership_healthy: 2\n" in stats


class Chaos:
    """One fault at a time; each ends, and what it broke recovers, before the next."""

    def __init__(self, stack, chance):
        self.stack, self.chance = stack, chance
        self.configuration = stack.directory / "extproc.yaml"
        self.good = self.configuration.read_text()
        self.faults = {
            "kill": self.kill, "stop": self.stop, "sts fails": self.sts_fails, "sts is slow": self.sts_is_slow,
            "keys rotate": self.keys_rotate, "reload": self.reload, "bad reload": self.bad_reload,
        }  # fmt: skip

    def worker(self):
        return self.chance.choice(sorted(children(self.stack.processes["extproc"].pid).values()))

    def kill(self):
        victim, supervisor = self.worker(), self.stack.processes["extproc"].pid
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(new := set(children(supervisor).values())) == 2 and victim not in new, "restarted")

    def stop(self):
        pid = self.worker()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.1, 1.5))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def sts_fails(self):
        self.stack.control("sts", "faults", {"mode": "throttle"})
        time.sleep(self.chance.uniform(0.5, 1.5))
        self.stack.control("sts", "faults", {"mode": None})

    def sts_is_slow(self):
        self.stack.control("sts", "faults", {"mode": "slow", "delay": 0.3})
        time.sleep(1)
        self.stack.control("sts", "faults", {"mode": None})

    def keys_rotate(self):
        self.stack.control("idp", "rotate", {})

    def reload(self):
        changed = {**yaml.safe_load(self.good), "session_duration": self.chance.choice([900, 1800, 3600])}
        self.configuration.write_text(yaml.safe_dump(changed))
        self.stack.processes["extproc"].send_signal(signal.SIGHUP)

    def bad_reload(self):
        self.configuration.write_text("issuers: none\n")
        self.stack.processes["extproc"].send_signal(signal.SIGHUP)
        time.sleep(self.chance.uniform(0.3, 1))
        # With the bad one a worker that is killed next could not start.
        self.configuration.write_text(self.good)


async def test_whatever_breaks_nothing_unsigned_and_nobody_elses_credentials(stack, capsys):
    chance = random.Random(SEED)
    chaos = Chaos(stack, chance)
    await asyncio.to_thread(until, lambda: is_whole(stack), "both workers are ready")
    faults, statuses, wrong = collections.Counter(), collections.Counter(), []
    now, done = ["calm"], asyncio.Event()
    roles = {}

    async def ask(http, user, token):
        at_start = now[0]
        answer = await http.post(
            f"http://{stack.addresses.envoy}/echo", content=user, headers={"authorization": f"Bearer {token}"}
        )
        statuses[answer.status_code] += 1
        explained = set().union(*(DISRUPTING.get(fault, set()) for fault in (at_start, now[0])))
        if answer.status_code == 200:
            arn = answer.json()["arn"]
            if roles.setdefault(user, arn) != arn:
                wrong.append((user, arn))
        elif answer.status_code not in explained:
            wrong.append((at_start, now[0], answer.status_code, answer.text[:200]))
        return answer.status_code

    async def load(http, user, mine):
        token = await asyncio.to_thread(stack.token, user)
        while not done.is_set():
            if mine.random() < NEW_TOKEN:
                token = await asyncio.to_thread(stack.token, user)
            await ask(http, user, token)

    async def recovered(http):
        await asyncio.to_thread(until, lambda: is_whole(stack), "all is well again")
        for user in USERS:
            served = 0  # in a row: each worker has a circuit breaker of its own, and either may answer
            for _ in range(200):
                status = await ask(http, user, await asyncio.to_thread(stack.token, user))
                served = served + 1 if status == 200 else 0
                if served == IN_A_ROW:
                    break
                if not served:
                    await asyncio.sleep(0.1)
            else:
                wrong.append((user, "not served again"))

    async with client() as http, asyncio.TaskGroup() as group:
        loads = [
            group.create_task(load(http, user, random.Random(f"{SEED} {user} {number}")))
            for user in USERS
            for number in range(CONCURRENCY)
        ]
        ends = time.monotonic() + SECONDS
        order = list(chaos.faults)
        chance.shuffle(order)
        while time.monotonic() < ends or order:
            now[0] = order.pop() if order else chance.choice(list(chaos.faults))
            faults[now[0]] += 1
            await asyncio.to_thread(chaos.faults[now[0]])
            await recovered(http)
            await asyncio.sleep(0.5)  # what was in flight while it was mended
            now[0] = "calm"
            await asyncio.sleep(chance.uniform(0.2, 0.6))
        done.set()
        await asyncio.gather(*loads)
    upstream = stack.control("mcp", "stats")
    with capsys.disabled():
        print(f"\nchaos, seed {SEED}: faults {dict(faults)}, answers {dict(statuses)}; upstream {upstream}")
    assert wrong == []
    assert len(set(roles.values())) == len(USERS)
    assert upstream["received"] == upstream["verified"]
    assert upstream["bearer_seen"] == 0
    assert statuses[200] > 100
    log = (stack.directory / "extproc.log").read_text(errors="replace")
    assert not re.search(r"eyJ[\w-]+\.eyJ", log)
