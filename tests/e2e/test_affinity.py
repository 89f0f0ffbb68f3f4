"""Five instances and a thousand users: the exchanges with affinity, and without."""

import asyncio
import collections
import os
import random
import signal

import pytest
import yaml

from extproc.demo.ports import free_ports
from extproc.envoyconf.options import EnvoyOptions
from support.http import client
from support.stacks import Stack
from support.supervised import children, until

pytestmark = pytest.mark.long

INSTANCES, USERS, REQUESTS, AT_ONCE = 5, 1000, 10, 16


@pytest.fixture(params=[None, False], ids=["affinity", "no affinity"])
def instances(request, tmp_path):
    def adjust(text):
        settings = yaml.safe_load(text)
        settings["listen"]["grpc"] = [f"127.0.0.1:{port}" for port in free_ports(INSTANCES)]
        # All users are one account of the identity provider's, with a token each.
        settings["targets"][0].update(max_connections=1000, max_connections_per_subject=1000)
        return yaml.safe_dump(settings)

    options = EnvoyOptions(affinity=request.param)
    with Stack(tmp_path, adjust=adjust, workers=INSTANCES, envoy_options=options) as stack:
        until(lambda: healthy(stack) == INSTANCES, "all instances are ready")
        stack.has_affinity = request.param is None
        yield stack


def healthy(stack):
    """The instances that Envoy takes for healthy."""
    url = f"http://{stack.addresses.envoy_admin}/stats?filter=cluster.extproc.membership_healthy"
    return int(stack.http.request("GET", url).data.decode().rpartition(":")[2])


async def send(stack, work):
    """Send requests with these tokens, in this order; return the statuses."""
    statuses, waiting = collections.Counter(), iter(work)

    async def some(http):
        for token in waiting:
            headers = {"authorization": f"Bearer {token}"}
            answer = await http.post(f"http://{stack.addresses.envoy}/echo", content=b"{}", headers=headers)
            statuses[answer.status_code] += 1

    async with client() as http:
        await asyncio.gather(*(some(http) for _ in range(AT_ONCE)))
    return statuses


async def test_a_user_costs_one_exchange_and_another_one_only_if_the_instance_is_gone(instances, capsys):
    stack = instances
    tokens = await asyncio.to_thread(lambda: [stack.token("demo-admin") for _ in range(USERS)])
    work = tokens * REQUESTS
    random.Random(7).shuffle(work)
    statuses = await send(stack, work)
    calls = stack.control("sts", "stats")["calls"]
    # One instance is killed and frozen out for the rest: its supervisor may not start it again.
    supervisor = stack.processes["extproc"].pid
    pids = children(supervisor)
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(pids[1], signal.SIGKILL)
        await asyncio.to_thread(until, lambda: healthy(stack) < INSTANCES, "the end is noticed")
        random.Random(8).shuffle(work)
        statuses += await send(stack, work)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    after = stack.control("sts", "stats")["calls"]
    with capsys.disabled():
        print(
            f"\n{INSTANCES} instances, {USERS} users, {REQUESTS} requests each: {calls} exchanges; "
            f"one killed, {REQUESTS} requests each again: {after - calls} more; {dict(statuses)}"
        )
    assert statuses == {200: 2 * len(work)}
    assert stack.control("mcp", "stats")["bearer_seen"] == 0
    if stack.has_affinity:
        assert calls == USERS
        # The users of one in five, and at most 2 % of the others.
        assert abs(after - calls - USERS / INSTANCES) < 0.02 * USERS + 40
    else:
        assert calls > 3 * USERS
