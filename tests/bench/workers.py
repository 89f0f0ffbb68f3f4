"""What a request costs with several workers: ``python -m bench.workers``.

Starts the real server with one worker and with two in turn, keeps 32 streams under way, and reads the processor time
and the waits of all its processes: for the same requests a second worker should cost nothing.
"""

import argparse
import asyncio
import itertools
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import grpc.aio
import psutil
import yaml

from bench import world
from bench.identity import IdentityProvider
from bench.messages import BODY_MESSAGE, head_message
from bench.processes import Processes
from extproc.demo.ports import free_ports
from extproc.grpc_server.service_names import EXT_PROC_SERVICE

_AT_ONCE = 32


async def _load(addresses: list[str], heads: list[bytes], seconds: float) -> int:
    """Send requests as Envoy does, over a connection to each address; return how many were signed."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options=options) for address in addresses]
    calls = [channel.stream_stream(f"/{EXT_PROC_SERVICE}/Process") for channel in channels]
    until, signed = time.monotonic() + seconds, 0

    async def client(call: Any, turn: Iterator[bytes]) -> None:
        nonlocal signed
        while time.monotonic() < until:
            stream = call()
            await stream.write(next(turn))
            await stream.read()
            await stream.write(BODY_MESSAGE)
            assert b"AWS4-HMAC-SHA256" in await stream.read(), "a signed request was expected"
            stream.cancel()
            signed += 1

    turn = itertools.cycle(heads)
    await asyncio.gather(*(client(calls[number % len(calls)], turn) for number in range(_AT_ONCE)))
    for channel in channels:
        await channel.close()
    return signed


def _used(server: psutil.Process) -> dict[str, float]:
    """Return what a server's processes have used: seconds of processor time, and waits of their threads."""
    processes = [server, *server.children(recursive=True)]
    times = [each.cpu_times() for each in processes]
    waits = (_waits(file) for each in processes for file in Path(f"/proc/{each.pid}/task").glob("*/status"))
    return {
        "user": sum(each.user for each in times),
        "system": sum(each.system for each in times),
        "waits": sum(waits),
    }


def _waits(status: Path) -> int:
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


class _Server:
    """A server with its workers, each at an address of its own."""

    def __init__(self, processes: Processes, directory: Path, base: dict[str, Any], workers: int) -> None:
        *ports, admin = free_ports(workers + 1)
        self.name = f"{workers} workers"
        self.addresses = [f"127.0.0.1:{port}" for port in ports]
        listen = {**base["listen"], "grpc": self.addresses, "admin": f"127.0.0.1:{admin}"}
        path = directory / f"{workers}.yaml"
        path.write_text(yaml.safe_dump({**base, "listen": listen}), encoding="ascii")
        arguments = ("serve", "--config", str(path), "--workers", str(workers))
        processes.start_module(self.name, "extproc", *arguments)
        processes.wait_ready(self.name, f"http://127.0.0.1:{admin}/readyz")
        self.process = psutil.Process(processes.pid(self.name))


def measure(rounds: int, seconds: float, users: int) -> dict[str, list[dict[str, float]]]:
    """Measure in turn; return the figures of each round by server."""
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name, IdentityProvider() as provider:
        directory = Path(name)
        with Processes(directory) as processes:
            sts, checked, unused = (f"127.0.0.1:{port}" for port in free_ports(3))
            world.start_emulators(processes, provider, sts=sts, checked=checked)
            base = yaml.safe_load(
                world.extproc_yaml(provider, grpc=unused, admin=unused, sts=sts, engine="auto")
            )
            servers = [_Server(processes, directory, base, workers) for workers in (1, 2)]
            heads = [head_message(provider.token(f"user{number}")) for number in range(users)]
            for server in servers:
                asyncio.run(_load(server.addresses, heads, seconds))
            for _ in range(rounds):
                for server in servers:
                    before = _used(server.process)
                    requests = asyncio.run(_load(server.addresses, heads, seconds))
                    each = {
                        name: (now - before[name]) / requests for name, now in _used(server.process).items()
                    }
                    found.setdefault(server.name, []).append({"rate": requests / seconds, **each})
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--users", type=int, default=10)
    given = parser.parse_args()
    found = measure(given.rounds, given.seconds, given.users)
    for name, rounds in found.items():
        for row in rounds:
            print(
                f"{name}: {row['rate']:.0f} requests/s, each {row['user'] * 1e6:.0f} us in the program and "
                f"{row['system'] * 1e6:.0f} us in the kernel, {row['waits']:.2f} waits"
            )
    medians = [median(row["user"] + row["system"] for row in rounds) for rounds in found.values()]
    print(f"two workers: {medians[1] / medians[0]:.2f} of the processor time of one")


if __name__ == "__main__":
    main()
