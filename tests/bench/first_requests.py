"""What first requests cost, and what they do to others: ``python -m bench.first_requests [seconds]``.

The product in one process, and an STS that answers at once in another. A thread stands for the engine's: it
makes warm requests at a fixed rate, whether or not the one before is done, while the event loop opens the
sessions of new users. Prints one JSON object.
"""

import asyncio
import itertools
import json
import logging
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from bench.messages import head_message
from bench.rig import Rig
from extproc.commands.serve import tune_interpreter

WARM, NEW = 2000, 200  # requests and users a second
_ROUNDS = 3
_COUNTED = 300  # first requests whose processor time is measured


@asynccontextmanager
async def _rig(directory: Path) -> AsyncIterator[Rig]:
    sts = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.instant_sts", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert sts.stdout is not None
        port = int(await sts.stdout.readline())
        yield Rig(directory, sts={"endpoint_url": f"http://127.0.0.1:{port}", "region": "us-east-1"})
    finally:
        sts.terminate()
        await sts.wait()


async def processor_time(rig: Rig, algorithm: str) -> float:
    """Milliseconds of CPU of a first request: token, decision, call of STS, signature."""
    tokens = [rig.token(algorithm) for _ in range(_COUNTED + 20)]
    for token in tokens[_COUNTED:]:
        await rig.open(token)
    before = time.process_time()
    for token in tokens[:_COUNTED]:
        await rig.open(token)
    return (time.process_time() - before) / _COUNTED * 1000


def _moments(rate: int, seconds: float) -> Iterator[float]:
    """Return the moments at which something is due."""
    began = time.perf_counter()
    return (began + number / rate for number in range(int(rate * seconds)))


def _warm(rig: Rig, head: bytes, seconds: float, latencies: list[float]) -> None:
    for due in _moments(WARM, seconds):
        time.sleep(max(0.0, due - time.perf_counter()))
        rig.request(head)
        latencies.append(time.perf_counter() - due)


async def _new_users(rig: Rig, tokens: list[str], seconds: float) -> int:
    """Open sessions; return how many were refused since too many waited: the machine is too slow."""
    tasks = []
    for due, token in zip(_moments(NEW, seconds), tokens, strict=True):
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(rig.open(token)))
    return sum(result is not None for result in await asyncio.gather(*tasks, return_exceptions=True))


async def warm_latency(rig: Rig, seconds: float, *, beside_new_users: bool) -> tuple[float, int]:
    """Milliseconds within which 99 % of warm requests are answered, and new users that were refused."""
    known = rig.token()
    await rig.open(known)
    await rig.open(known)
    tokens = [rig.token() for _ in range(int(NEW * seconds))] if beside_new_users else []
    latencies: list[float] = []
    thread = threading.Thread(target=_warm, args=(rig, head_message(known), seconds, latencies))
    thread.start()
    refused = await _new_users(rig, tokens, seconds) if beside_new_users else 0
    await asyncio.to_thread(thread.join)
    return sorted(latencies)[int(len(latencies) * 0.99)] * 1000, refused


async def measure(seconds: float) -> dict[str, Any]:
    """Return milliseconds of CPU by algorithm, and the warm p99 of each round, alone and beside."""
    with tempfile.TemporaryDirectory() as name:
        async with _rig(Path(name)) as rig:
            cpu = {algorithm: await processor_time(rig, algorithm) for algorithm in ("RS256", "ES256")}
            tune_interpreter()
            p99: dict[str, list[float]] = {"alone": [], "beside": []}
            refused = 0
            for _, kind in itertools.product(range(_ROUNDS), p99):
                latency, more = await warm_latency(rig, seconds, beside_new_users=kind == "beside")
                p99[kind].append(latency)
                refused += more
    return {"cpu_ms": cpu, "warm_p99_ms": p99, "refused": refused}


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(json.dumps(asyncio.run(measure(float(sys.argv[1]) if sys.argv[1:] else 5.0)), indent=1))
