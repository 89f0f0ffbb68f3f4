"""The configuration is reloaded again and again while requests run: none fails, none is unsigned."""

import asyncio
import collections
import re
import signal

import pytest
import yaml

from support.http import client
from support.supervised import until

CONCURRENCY = 8


def outcomes(stack):
    text = stack.http.request("GET", f"http://{stack.addresses.extproc_admin}/metrics").data.decode()
    found = re.findall(r'^extproc_config_reloads_total\{outcome="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {outcome: int(count) for outcome, count in found}


@pytest.mark.parametrize("reloads", [10, pytest.param(100, marks=pytest.mark.long)])
async def test_no_request_fails_during_reloads(own_stack, capsys, reloads):
    stack, path = own_stack, own_stack.directory / "extproc.yaml"
    good = yaml.safe_load(path.read_text())
    versions = (
        yaml.safe_dump({**good, "session_duration": 1800}),
        "targets: []\n",
        yaml.safe_dump(good),
    )
    token = await asyncio.to_thread(stack.token, "demo-admin")
    statuses, done = collections.Counter(), asyncio.Event()

    def reload(number):
        before = sum(outcomes(stack).values())
        path.write_text(versions[number % len(versions)])
        stack.processes["extproc"].send_signal(signal.SIGHUP)
        until(lambda: sum(outcomes(stack).values()) > before, "the configuration is read")

    async with client(token=token) as http:

        async def load(name):
            while not done.is_set():
                answer = await http.post(f"http://{stack.addresses.envoy}/echo", content=name)
                statuses[answer.status_code] += 1

        loads = [asyncio.create_task(load(str(name))) for name in range(CONCURRENCY)]
        for number in range(reloads):
            await asyncio.to_thread(reload, number)
        degraded = stack.http.request("GET", f"http://{stack.addresses.extproc_admin}/readyz").data.decode()
        await asyncio.to_thread(reload, 1)
        told = stack.http.request("GET", f"http://{stack.addresses.extproc_admin}/readyz")
        done.set()
        await asyncio.gather(*loads)
    upstream = stack.control("mcp", "stats")
    with capsys.disabled():
        print(f"\n{reloads + 1} reloads under load: {outcomes(stack)}, requests {dict(statuses)}; {upstream}")
    assert set(statuses) == {200}
    assert upstream["received"] == upstream["verified"] == statuses[200]
    assert upstream["bearer_seen"] == 0
    assert outcomes(stack)["applied"] >= reloads // 3
    assert outcomes(stack)["failed"] >= reloads // 3
    assert "configuration" not in degraded.replace("needs a restart", "")
    assert told.status == 200
    assert "degraded: configuration: not reloaded" in told.data.decode()
