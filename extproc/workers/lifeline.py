"""The worker's end of a pipe from its supervisor."""

import asyncio
import os

SERVE = b"\n"
"""What the supervisor writes when the worker may serve."""


class Lifeline:
    """Waits for the supervisor's permission to serve, and sets ``stopped`` when the supervisor has ended.

    The kernel closes the pipe however the supervisor ends, even by SIGKILL, and on every platform.
    Build it inside the event loop.
    """

    def __init__(self, descriptor: int, stopped: asyncio.Event) -> None:
        self._descriptor = descriptor
        self._stopped = stopped
        self._may_serve = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        if os.read(self._descriptor, len(SERVE)):
            self._may_serve.set()
            return
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._stopped.set()

    async def may_serve(self) -> bool:
        """Wait until the supervisor allows serving; return false if the worker is stopped before."""
        waits = {asyncio.ensure_future(event.wait()) for event in (self._may_serve, self._stopped)}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not self._stopped.is_set()
