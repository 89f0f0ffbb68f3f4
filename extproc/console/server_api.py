"""The server as the console sees it: its admin API, called in threads, so that no page waits for another."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from extproc.admin.client import AdminClient, CallError

_THREADS = 8
_STATUS_FOR = 1.0  # seconds that one status is shown to all viewers
_HEAVY = frozenset({"ListSessions", "GetSession", "Explain"})
"""Calls for which the server looks at every session, or reads what somebody has pasted."""
_REST = 3.0  # times the duration of a heavy call, until the next one
_MAX_WAITING = 32  # heavy calls


class ServerApi:
    """Calls the admin API. Belongs to one event loop.

    However many pages are open, heavy calls come one at a time and take at most a quarter of the time: each
    competes with users' requests for the server's interpreter. Ending sessions never waits for them.

    Raises ``CallError`` where the server refuses, or does not answer.
    """

    def __init__(self, client: AdminClient) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="console-api")
        self._status: tuple[float, asyncio.Task[dict[str, Any]]] | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._next_at = 0.0

    async def call(self, method: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call a method with the fields that are not None."""
        given = {name: value for name, value in (fields or {}).items() if value is not None}
        if method not in _HEAVY:
            return await self._run(method, given)
        if self._waiting >= _MAX_WAITING:
            raise CallError("too many pages ask at once; load this one again", refused=False)
        self._waiting += 1
        try:
            async with self._turn:
                return await self._rested(method, given)
        finally:
            self._waiting -= 1

    async def _rested(self, method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._next_at - clock())
        began = clock()
        try:
            return await self._run(method, fields)
        finally:
            self._next_at = clock() + _REST * (clock() - began)

    async def _run(self, method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._client.call, method, fields)

    async def workers(self) -> list[dict[str, Any]]:
        """Return the status of each worker; viewers of one second share one call."""
        loop = asyncio.get_running_loop()
        if self._status is None or loop.time() - self._status[0] > _STATUS_FOR:
            self._status = loop.time(), loop.create_task(self.call("GetStatus"))
        answer = await asyncio.shield(self._status[1])
        workers: list[dict[str, Any]] = answer["workers"]
        return workers

    async def session_of(self, issuer: str, subject: str, jti: str | None = None) -> dict[str, Any] | None:
        """Return a living session of a user, of that very token if there is one."""
        for token_id in (jti, None) if jti else (None,):
            conditions = {"issuer": issuer, "subject": subject, "jti": token_id, "page_size": 1}
            found = (await self.call("ListSessions", conditions))["sessions"]
            if found:
                session: dict[str, Any] = found[0]
                return session
        return None

    def close(self) -> None:
        """Start no further calls."""
        self._threads.shutdown(wait=False, cancel_futures=True)


__all__ = ["CallError", "ServerApi"]
