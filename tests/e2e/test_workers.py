"""Two workers as endpoints of Envoy, under load, while one of them is killed."""

import asyncio
import collections
import json
import os
import re
import signal

import pytest
import yaml

from extproc.demo.ports import free_ports
from support.http import client
from support.stacks import Stack
from support.supervised import children, until

CONCURRENCY = 16


@pytest.fixture
def workers(tmp_path):
    def adjust(text):
        settings = yaml.safe_load(text)
        settings["listen"]["grpc"] = [settings["listen"]["grpc"], f"127.0.0.1:{free_ports(1)[0]}"]
        return yaml.safe_dump(settings)

    with Stack(tmp_path, adjust=adjust, workers=2) as stack:
        yield stack


def envoys_count(stack, pattern):
    """The sum of Envoy's counters whose name matches."""
    text = stack.http.request("GET", f"http://{stack.addresses.envoy_admin}/stats").data.decode()
    return sum(int(value) for value in re.findall(rf"^(?:{pattern}): (\d+)$", text, re.MULTILINE))


def is_whole(stack):
    """Both workers are ready, and Envoy knows."""
    answer = stack.http.request("GET", f"http://{stack.addresses.extproc_admin}/readyz")
    return answer.data == b"ok\n" and envoys_count(stack, r"cluster\.extproc\.membership_healthy") == 2


async def test_when_one_of_two_workers_is_killed_only_what_it_was_working_on_fails(workers, capsys):
    stack = workers
    until(lambda: is_whole(stack), "both workers are ready")
    pids = children(stack.processes["extproc"].pid)
    token = await asyncio.to_thread(stack.token, "demo-admin")
    statuses = collections.Counter()
    done = asyncio.Event()

    async with client(token=token) as http:

        async def load(name):
            while not done.is_set():
                answer = await http.post(f"http://{stack.addresses.envoy}/echo", content=name)
                statuses[answer.status_code] += 1

        async def answered(more):
            enough = statuses.total() + more
            await asyncio.to_thread(until, lambda: statuses.total() >= enough, "requests are answered")

        loads = [asyncio.create_task(load(str(name))) for name in range(CONCURRENCY)]
        await answered(200)
        assert set(statuses) == {200}
        os.kill(pids[1], signal.SIGKILL)
        await asyncio.to_thread(until, lambda: not is_whole(stack), "the end is noticed")
        await asyncio.to_thread(until, lambda: is_whole(stack), "the worker is back")
        await answered(200)
        done.set()
        await asyncio.gather(*loads)

    retried = envoys_count(stack, r"cluster\.extproc\.upstream_rq_retry_success")
    upstream = stack.control("mcp", "stats")
    with capsys.disabled():
        print(
            f"\none of two workers killed under load: {dict(statuses)}, {retried} saved by a retry; {upstream}"
        )
    # In flight when it was killed, and nothing else: Envoy asks the other worker as long as this one is away.
    assert set(statuses) <= {200, 500}
    assert statuses[500] <= CONCURRENCY
    for line in (stack.directory / "envoy.log").read_text().splitlines():
        if line.startswith("{") and (entry := json.loads(line))["status"] == 500:
            assert "connection_termination" in entry["details"]
    # What failed had been signed and sent on at most; nothing else reached the upstream.
    assert upstream["received"] == upstream["verified"]
    assert statuses[200] <= upstream["received"] <= statuses.total()
    assert upstream["bearer_seen"] == 0
    after = children(stack.processes["extproc"].pid)
    assert after[2] == pids[2]
    assert after[1] != pids[1]
