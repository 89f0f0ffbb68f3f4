"""Single flight: concurrent requests for the same key share one piece of work. Belongs to one event loop.

The work goes on when requests that wait for it are cancelled (Envoy reset their streams, say).
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """Running work by key."""

    def __init__(self) -> None:
        self._running: dict[Key, asyncio.Future[Result]] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def join(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Start or join the work, and wait for it. Cancelling one wait does not cancel the work."""
        return await asyncio.shield(self.run(key, work))

    def run(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]]) -> asyncio.Future[Result]:
        """Start the work, or return the task that runs already. Await it shielded."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(work())
            self._running[key] = task
            # A callback and not a `finally` in the work: a task cancelled before its first step runs neither.
            task.add_done_callback(lambda done: self._finished(key, done))
        return task

    def _finished(self, key: Key, task: asyncio.Future[Result]) -> None:
        del self._running[key]
        if not task.cancelled():
            # Mark a failure as retrieved: every wait may have been cancelled.
            task.exception()
