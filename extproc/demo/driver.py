"""Calls the stack as users would: with the official MCP client in both protocol modes, and without a role."""

import asyncio
import dataclasses
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from extproc.demo.decisions import DIRECT, Decisions
from extproc.demo.settings import ADMIN_ROLE, DEVELOPER_ROLE
from extproc.demo.stack import Stack

MODES = {"2026-07-28": "2026-07-28", "2025-11-25 (sessions)": "legacy"}
"""The SDK's name of each protocol mode, by the name in the table."""

ROLES = {"demo-admin": ADMIN_ROLE, "demo-developer": DEVELOPER_ROLE}
_TIMEOUT = 20.0  # seconds, for one call
_REFUSED = "refused with "
_EXPIRED = {"lifetime": "-300"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result: what was tried, its outcome, and whether that is right.

    Attributes:
        outcome: what the target saw, or the status of the refusal.
        cold: seconds of the first call of a session, or None.
        warm: seconds of a later one, or None.
        decided: what extproc decided and why, by its audit log.
    """

    who: str
    how: str
    outcome: str
    expected: bool
    cold: float | None = None
    warm: float | None = None
    decided: str = ""

    @property
    def denied(self) -> bool:
        """Return whether the call was refused."""
        return self.outcome.startswith(_REFUSED)


@asynccontextmanager
async def mcp_client(url: str, token: str, *, mode: str) -> AsyncIterator[Client]:
    """Yield an MCP client that has nothing but a bearer token."""
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=_TIMEOUT) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


async def drive(stack: Stack, done: Callable[[Row], None]) -> bool:
    """Try everything; call ``done`` with each row. Return whether all was as expected."""
    rows = []
    decisions = Decisions(stack.directory)
    async for row in _rows(stack):
        row = dataclasses.replace(row, decided=await decisions.latest(row.how, denied=row.denied))  # noqa: PLW2901
        done(row)
        rows.append(row)
    return bool(rows) and all(row.expected for row in rows)


async def _rows(stack: Stack) -> AsyncIterator[Row]:
    url = stack.addresses.resource
    for account, role in ROLES.items():
        for label, mode in MODES.items():
            yield await _allowed(stack, account, role, label, mode)
    yield await _streamed(stack)
    async with httpx2.AsyncClient(timeout=_TIMEOUT) as http:
        guest = await asyncio.to_thread(stack.token, "demo-guest")
        expired = await asyncio.to_thread(lambda: stack.token("demo-admin", **_EXPIRED))
        yield await _refused(http, "demo-guest", "has no role", url=url, token=guest, status=403)
        yield await _refused(http, "nobody", "no token", url=url, token=None, status=401)
        yield await _refused(http, "demo-admin", "expired token", url=url, token=expired, status=401)
        other = await asyncio.to_thread(stack.token, "demo-azp")
        yield await _refused(
            http, "demo-azp", "azp, which STS compares, is unknown there", url=url, token=other, status=500
        )
        direct = f"http://{stack.addresses.mcp}/mcp"
        yield await _refused(http, "anybody", DIRECT, url=direct, token=None, status=401)


async def _allowed(stack: Stack, account: str, role: str, label: str, mode: str) -> Row:
    # Each mode has its own token. A session belongs to a token, so the first call finds none.
    token = await asyncio.to_thread(stack.token, account)
    try:
        started = time.perf_counter()
        async with mcp_client(stack.addresses.resource, token, mode=mode) as client:
            connected = time.perf_counter() - started
            seen = await _whoami(client)
            warm = []
            for _ in range(5):
                started = time.perf_counter()
                await _whoami(client)
                warm.append(time.perf_counter() - started)
    except Exception as error:  # noqa: BLE001 - the row shows the failure, and the others still run
        return Row(account, label, f"failed: {_innermost(error)!r}", expected=False)
    role_name = role.rpartition("/")[2]
    expected = (seen["role_name"], seen["session_name"]) == (role_name, account)
    outcome = f"{seen['role_name']} as {seen['session_name']}"
    return Row(account, label, outcome, expected, connected, statistics.median(warm))


async def _whoami(client: Client) -> dict[str, Any]:
    result = await client.call_tool("whoami", {})
    if result.is_error or not isinstance(result.content[0], TextContent):
        raise RuntimeError("whoami failed")
    caller: dict[str, Any] = json.loads(result.content[0].text)
    return caller


async def _streamed(stack: Stack) -> Row:
    """Check that progress arrives while the tool runs: nothing on the way may buffer it."""
    token = await asyncio.to_thread(stack.token, "demo-admin")
    steps, pause = 5, 0.1
    arrivals: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        del progress, total, message  # only the time of arrival counts
        arrivals.append(time.perf_counter())

    try:
        async with mcp_client(stack.addresses.resource, token, mode="legacy") as client:
            await client.call_tool("countdown", {"n": steps, "delay": pause}, progress_callback=on_progress)
    except Exception as error:  # noqa: BLE001 - as above
        return Row("demo-admin", "streamed answer", f"failed: {_innermost(error)!r}", expected=False)
    spread = arrivals[-1] - arrivals[0] if arrivals else 0.0
    streamed = len(arrivals) >= steps and spread > pause * (steps - 2)
    outcome = f"{len(arrivals)} events over {spread * 1000:.0f} ms"
    return Row("demo-admin", "streamed answer (SSE)", outcome, streamed)


async def _refused(
    http: httpx2.AsyncClient, who: str, how: str, *, url: str, token: str | None, status: int
) -> Row:
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"accept": "application/json, text/event-stream"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    answer = await http.post(url, json=request, headers=headers)
    return Row(who, how, f"{_REFUSED}{answer.status_code}", expected=answer.status_code == status)


def _innermost(error: BaseException) -> BaseException:
    """Return the cause inside nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
