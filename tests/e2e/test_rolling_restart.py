"""Two instances behind one Envoy are restarted one after the other while requests run."""

import asyncio
import collections
import re
import signal

import pytest
import yaml

from extproc.demo.ports import free_ports
from support import forked
from support.http import client
from support.stacks import Stack
from support.supervised import until

CONCURRENCY, ROUNDS = 8, 1
PAUSE = 0.05  # seconds between two requests of one client


@pytest.fixture
def instances(tmp_path):
    """A stack whose Envoy knows two instances, and how to start each of them."""
    ports = free_ports(2)

    def adjust(text):
        settings = yaml.safe_load(text)
        settings["drain_delay_seconds"] = 3.0
        other = {
            **settings,
            "listen": {"grpc": f"127.0.0.1:{ports[0]}", "admin": f"127.0.0.1:{ports[1]}"},
        }
        (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
        # One process each: that the list has two is for Envoy's configuration only.
        settings["listen"]["grpc"] = [settings["listen"]["grpc"], other["listen"]["grpc"]]
        return yaml.safe_dump(settings)

    stack = Stack(tmp_path, adjust=adjust)
    running = {}

    def start(name):
        command = ["-m", "extproc", "serve", "--config", str(tmp_path / f"{name}.yaml")]
        running[name] = forked.Process(command, tmp_path / f"{name}.log")

    started = stack.start_part

    def start_part(name):
        if name != "extproc":
            started(name)
            return
        settings = yaml.safe_load((tmp_path / "extproc.yaml").read_text())
        settings["listen"]["grpc"] = settings["listen"]["grpc"][0]
        (tmp_path / "first.yaml").write_text(yaml.safe_dump(settings))
        for each in ("first", "other"):
            start(each)
        stack.processes["extproc"] = running["first"]

    stack.start_part = start_part
    try:
        with stack:
            yield stack, running, start
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def healthy(stack):
    text = stack.http.request("GET", f"http://{stack.addresses.envoy_admin}/stats").data.decode()
    return int(re.search(r"^cluster\.extproc\.membership_healthy: (\d+)$", text, re.MULTILINE)[1])


async def test_a_rolling_restart_loses_no_request_and_lets_none_out_unsigned(instances, capsys):
    stack, running, start = instances
    until(lambda: healthy(stack) == 2, "both instances are healthy")
    token = await asyncio.to_thread(stack.token, "demo-admin")
    statuses, done, ends = collections.Counter(), asyncio.Event(), []

    def restart(name):
        running[name].send_signal(signal.SIGTERM)
        ends.append(running[name].wait(30))
        start(name)
        until(lambda: healthy(stack) == 1, "Envoy has noticed the end")
        until(lambda: healthy(stack) == 2, "it is back")

    async with client(token=token) as http:

        async def load(name):
            while not done.is_set():
                answer = await http.post(f"http://{stack.addresses.envoy}/echo", content=name)
                statuses[answer.status_code] += 1
                await asyncio.sleep(PAUSE)

        loads = [asyncio.create_task(load(str(name))) for name in range(CONCURRENCY)]
        for _ in range(ROUNDS):
            for name in ("first", "other"):
                await asyncio.to_thread(restart, name)
        done.set()
        await asyncio.gather(*loads)
    stack.processes["extproc"] = running["first"]
    upstream = stack.control("mcp", "stats")
    with capsys.disabled():
        print(f"\n{len(ends)} restarts under load: requests {dict(statuses)}, ends {ends}; {upstream}")
    assert set(statuses) == {200}
    assert upstream["received"] == upstream["verified"] == statuses[200]
    assert upstream["bearer_seen"] == 0
    assert ends == [0] * (2 * ROUNDS)
