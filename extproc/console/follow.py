"""Follows the server: fetches its decisions and samples its metrics, once for all viewers."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from extproc.clock import Clock
from extproc.console import rates
from extproc.console.history import History
from extproc.console.rates import Rates
from extproc.console.server_api import CallError, ServerApi

IDLE, WATCHED = 2.0, 0.4
"""Seconds between two looks for decisions, without viewers and with some."""

_AFTER_FAILURE = 3.0  # seconds

_log = structlog.get_logger(__name__)


class Follower:
    """Keeps history and rates up to date. Belongs to one event loop.

    Attributes:
        problem: why no decisions come; empty if they do.
        missed: whether some decisions came faster than they were fetched, or the server was restarted.
        viewers: how many pages show decisions as they are made.
    """

    def __init__(self, api: ServerApi, *, history: History, rates: Rates, clock: Clock = time.time) -> None:
        self.problem = ""
        self.missed = False
        self.viewers = 0
        self._api = api
        self._history = history
        self._rates = rates
        self._clock = clock
        self._cursor = ""

    async def follow_decisions(self) -> None:
        """Fetch decisions until cancelled."""
        while True:
            pause = await self._try(self.fetch, _AFTER_FAILURE)
            await asyncio.sleep(pause)

    async def follow_rates(self) -> None:
        """Sample the metrics until cancelled."""
        while True:
            await self._try(self.sample, 0.0)
            await asyncio.sleep(rates.EVERY)

    async def fetch(self) -> float:
        """Fetch one page of decisions; return the seconds until the next one."""
        try:
            page = await self._api.call("ListDecisions", {"cursor": self._cursor, "limit": 1000})
        except CallError as error:
            self.problem = str(error)
            return _AFTER_FAILURE
        self.problem = ""
        self.missed = self.missed or page["missed"]
        self._cursor = page["next_cursor"]
        await asyncio.to_thread(self._history.add, page["events"])
        if page["more"]:
            return 0.0
        return WATCHED if self.viewers else IDLE

    async def sample(self) -> float:
        """Sample the metrics once."""
        text = (await self._api.call("GetMetrics"))["text"]
        self._rates.add(await asyncio.to_thread(rates.read, text, at=self._clock()))
        return 0.0

    async def _try(self, work: Callable[[], Any], otherwise: float) -> float:
        try:
            pause: float = await work()
        except CallError:
            return otherwise
        except Exception as error:  # noqa: BLE001 - one answer that cannot be read must not end the console
            _log.error("console_follow_failed", error=type(error).__name__)
            return _AFTER_FAILURE
        return pause
