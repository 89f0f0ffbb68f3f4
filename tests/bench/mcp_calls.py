"""Tool calls of the official MCP client: through Envoy and the product, and through mcp-proxy-for-aws.

The proxy is a process of each user's own, between the client's standard streams and the endpoint. It
exchanges the same kind of token at the same STS emulator, with botocore's web identity provider, and its
upstream is the same MCP server behind the same signature check. Both ways the client and that server take
most of a call, so what the processes between them use is told too.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from bench.stats import spread
from bench.world import MCP, World, engines, full, static_credentials
from extproc.demo.ports import free_ports
from extproc.demo.settings import DEVELOPER_ROLE

AT_ONCE = 8
OURS, PROXY, PROXY_STATIC = "Envoy and extproc", "mcp-proxy-for-aws", "mcp-proxy-for-aws, static credentials"
_SLOWER = 8  # the proxy is given fewer calls, for the sake of time
_TEXT = "x" * 53

Result = dict[str, Any]
Used = Callable[[], float]


def through_extproc(world: World, calls: int, delay: float) -> Result:
    """Calls over Envoy's listener, with a user's token."""
    world.sts_delay(delay)
    token = world.tokens(1)[0]

    @asynccontextmanager
    async def transport() -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30.0) as http,
            streamable_http_client(f"http://127.0.0.1:{world.port(MCP)}/mcp", http_client=http) as streams,
        ):
            yield streams

    def used() -> float:
        cpu = world.processes.cpu()
        return cpu["envoy"] + cpu[full(engines()[0])]

    return asyncio.run(_measure(world, transport(), used, calls))


def through_proxy(
    world: World, program: Path, upstream: str, calls: int, delay: float, *, static: bool = False
) -> Result:
    """Calls over the proxy's standard streams. ``static``: it is given credentials and needs no STS."""
    with tempfile.TemporaryDirectory() as directory:
        token = Path(directory, "token")
        token.write_text(world.tokens(1)[0], encoding="ascii")
        identity = {"AWS_ROLE_ARN": DEVELOPER_ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
        if static:
            known = static_credentials(world.sts, token.read_text(encoding="ascii"))
            identity = {f"AWS_{name.upper()}": value for name, value in known.items()}
        world.sts_delay(delay)
        parameters = StdioServerParameters(
            command=str(program),
            args=[
                f"http://{upstream}/mcp",
                "--service",
                "aws-mcp",
                "--region",
                "us-east-1",
                "--disable-telemetry",
            ],
            env={
                "PATH": os.environ["PATH"],
                "HOME": directory,
                **identity,
                "AWS_ENDPOINT_URL_STS": f"http://{world.sts}",
                "AWS_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            },
        )
        others = set(psutil.Process().children())

        def used() -> float:
            mine = [child for child in psutil.Process().children() if child not in others]
            return sum(sum(child.cpu_times()[:2]) for child in mine)

        return asyncio.run(_measure(world, stdio_client(parameters), used, calls))


async def _measure(world: World, transport: Any, used: Used, calls: int) -> Result:
    started = time.perf_counter()
    async with Client(transport) as client:

        async def call() -> float:
            before = time.perf_counter()
            answer = await client.call_tool("echo", {"text": _TEXT})
            assert not answer.is_error, answer
            return (time.perf_counter() - before) * 1000

        await call()
        first = (time.perf_counter() - started) * 1000
        for _ in range(5):
            await call()
        cpu, began = used(), time.perf_counter()
        one_by_one = [await call() for _ in range(calls)]
        serial = time.perf_counter() - began
        cpu = (used() - cpu) / calls * 1e6
        together = await _together(call, calls)
    return {
        "first": first,
        "p50": spread(one_by_one).median,
        "rate": calls / serial,
        "rate_together": calls / together,
        "cpu": cpu,
        "calls": 2 * calls + 6,
        "exchanges": world.exchanges(),
    }


async def _together(call: Callable[[], Awaitable[float]], calls: int) -> float:
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await call()

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return time.perf_counter() - started


def compare(
    world: World, program: Path | None, *, calls: int, rounds: int, delays: Sequence[float]
) -> Result:
    """Both ways in turn, ``delays`` in seconds being what STS takes; without the proxy if it is not installed."""
    upstream = f"127.0.0.1:{free_ports(1)[0]}"
    world.start_upstream("proxied upstream", upstream)
    found: Result = {}
    for delay in delays:
        rows: dict[str, list[Result]] = {OURS: [], PROXY: [], PROXY_STATIC: []}
        for _ in range(rounds):
            rows[OURS].append(through_extproc(world, calls, delay))
            if program is not None:
                rows[PROXY].append(through_proxy(world, program, upstream, calls // _SLOWER, delay))
            if program is not None and not delay:
                rows[PROXY_STATIC].append(
                    through_proxy(world, program, upstream, calls // _SLOWER, delay, static=True)
                )
        found[f"{delay * 1000:.0f}"] = rows
    world.sts_delay(0)
    world.processes.stop("proxied upstream")
    return found
