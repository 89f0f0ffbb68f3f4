"""Writes to the store in the background: no request waits for them, and an outage only delays them.

What is obtained while the store is away is written when it is back, a few at a time. So replicas that start
then find it, and the store is not flooded.
"""

import asyncio
import contextlib
import math
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

import structlog

from extproc.clock import Clock
from extproc.shared_store.calls import Client
from extproc.shared_store.patience import Outcome, Patience, UnavailableError
from extproc.shared_store.scripts import STORE

MAX_WAITING = 4096  # writes, of about 2 KiB each
WRITES = ("stored", "refused", "dropped", "expired")
"""How writes end: values of label ``outcome`` of ``extproc_shared_store_writes_total``. ``dropped``: too many
waited; ``expired``: the value had ended before the store was back."""

_AT_ONCE = 4
_RETRY_AFTER = 0.25  # seconds
_LAST_WRITES = 1.0  # seconds that a process waits for them when it stops
_MILLISECONDS = 1000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Write:
    """One write.

    Attributes:
        keys: the value's and the lease's.
        sealed: the value; empty if only the lease is given back.
        ends_at: when the value is of no use any more, in seconds since the epoch.
        fence: of the lease, if this process holds it.
    """

    keys: tuple[str, str]
    sealed: bytes = field(default=b"", repr=False)
    ends_at: float = 0.0
    fence: bytes = field(default=b"", repr=False)


class Writer:
    """The queue of writes. Belongs to one event loop.

    Attributes:
        outcomes: how writes ended so far.
    """

    def __init__(self, client: Client, patience: Patience, *, clock: Clock) -> None:
        self._client = client
        self._patience = patience
        self._clock = clock
        self._waiting: OrderedDict[tuple[str, str], Write] = OrderedDict()  # the oldest first
        self._more = asyncio.Event()
        self._writing = 0
        self.outcomes = Counter(dict.fromkeys(WRITES, 0))

    def __len__(self) -> int:
        return len(self._waiting) + self._writing

    def put(self, write: Write) -> None:
        """Write soon; replaces a write under the same name that waits."""
        self._waiting.pop(write.keys, None)
        self._waiting[write.keys] = write
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)
            self.outcomes["dropped"] += 1
        self._more.set()

    async def run(self) -> None:
        """Write until cancelled; then for a moment longer, if the store answers."""
        workers = [asyncio.ensure_future(self._work()) for _ in range(_AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WRITES):
                    while len(self) and not self._patience.is_open:  # noqa: ASYNC110 - for a moment only
                        await asyncio.sleep(0.01)
            for worker in workers:
                worker.cancel()

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._more.clear()
                await self._more.wait()
            _, write = self._waiting.popitem(last=False)
            self._writing += 1
            try:
                is_away = not await self._write(write)
            finally:
                self._writing -= 1
            if is_away:
                self._waiting.setdefault(write.keys, write)
                self._waiting.move_to_end(write.keys, last=False)
                await asyncio.sleep(_RETRY_AFTER)

    async def _write(self, write: Write) -> bool:
        """Return whether the write is over, one way or another."""
        remaining = math.floor((write.ends_at - self._clock()) * _MILLISECONDS)
        if write.sealed and remaining <= 0:
            self.outcomes["expired"] += 1
            return True
        try:
            await self._patience.call(
                lambda: self._client.evaluate(
                    STORE,
                    list(write.keys),
                    write.sealed,
                    remaining if write.sealed else 0,
                    write.fence,
                )
            )
        except UnavailableError as error:
            if error.outcome is not Outcome.REFUSED:
                return not write.sealed  # a lease ends by itself
            self.outcomes["refused"] += 1
            _log.warning("shared_store_refuses_writes", why=str(error))
            return True
        self.outcomes["stored"] += bool(write.sealed)
        return True
