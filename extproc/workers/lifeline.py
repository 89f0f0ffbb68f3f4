"""The worker's end of the pipe from its supervisor."""

import asyncio
import os

SERVE = b"\n"
"""What the supervisor writes once the worker may take traffic."""


class Lifeline:
    """Tells when the supervisor wants traffic served, and sets ``stopped`` when it is gone.

    A pipe, because its end comes however the supervisor ends, SIGKILL included, and on every
    platform. Build it inside the event loop.
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
        """Wait until traffic may be served; false if the worker is stopped before."""
        waits = {asyncio.ensure_future(event.wait()) for event in (self._may_serve, self._stopped)}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not self._stopped.is_set()
