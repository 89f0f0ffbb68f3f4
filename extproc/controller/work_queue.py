"""Keys that wait for work: each at most once, each with a wait that grows while it fails."""

import asyncio

from extproc.controller.backoff import Backoff
from extproc.controller.kinds import Key


class WorkQueue:
    """A queue for one worker.

    A key that is added while it is worked on is worked on once more. A key that failed comes back after its
    wait, or at once if its object changes meanwhile.
    """

    def __init__(self) -> None:
        self._ready: dict[Key, None] = {}  # in the order in which they came
        self._later: dict[Key, asyncio.TimerHandle] = {}
        self._backoffs: dict[Key, Backoff] = {}
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)

    def add(self, key: Key) -> None:
        """Add a key, if it does not wait already."""
        later = self._later.pop(key, None)
        if later is not None:
            later.cancel()
        self._ready.setdefault(key)
        self._some.set()

    async def next(self) -> Key:
        """Return the key that has waited longest, and remove it."""
        while not self._ready:
            self._some.clear()
            await self._some.wait()
        key = next(iter(self._ready))
        del self._ready[key]
        return key

    def succeeded(self, key: Key) -> None:
        """Forget the failures of a key."""
        self._backoffs.pop(key, None)

    def failed(self, key: Key) -> None:
        """Let a key come back after its wait, unless it waits already."""
        wait = self._backoffs.setdefault(key, Backoff()).next()
        if key not in self._ready and key not in self._later:
            self._later[key] = asyncio.get_running_loop().call_later(wait, self.add, key)
