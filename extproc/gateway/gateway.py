"""Supervises the server and Envoy until SIGTERM, or until one of them ends."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from extproc.gateway.child import Child, Write
from extproc.gateway.envoy_admin import EnvoyAdmin
from extproc.workers.worker import describe

READY_WITHIN = 60.0
"""Seconds that each part may take until it is ready."""
_SAY_WHY_AFTER = 3.0  # seconds without readiness
_POLL = 0.1
_ENVOY_ENDS_WITHIN = 5.0
_MARGIN = 10.0  # seconds beyond the server's own time to drain

Say = Callable[[str], None]


class GatewayError(RuntimeError):
    """A part did not start, or ended by itself; the message names it and says why."""


class Gateway:
    """The server and Envoy. Build it inside the event loop that runs it.

    Args:
        server_command: the command line of ``extproc serve``.
        envoy_command: the command line of Envoy.
        envoy_admin: the address of Envoy's admin interface.
        unready: returns why the server is not ready; an empty list if it is.
        drain_seconds: the server's own time to drain.
        write: writes a line of a child's output.
        say: shows a message of this process.
        on_hangup: called upon SIGHUP, after the server got it.
    """

    def __init__(
        self,
        *,
        server_command: Sequence[str],
        envoy_command: Sequence[str],
        envoy_admin: str,
        unready: Callable[[], Awaitable[list[str]]],
        drain_seconds: float,
        write: Write,
        say: Say,
        on_hangup: Callable[[], None],
    ) -> None:
        self._server = Child("extproc", server_command, write=write)
        self._envoy = Child("envoy", envoy_command, write=write)
        self._admin = EnvoyAdmin(envoy_admin)
        self._unready = unready
        self._drain_seconds = drain_seconds
        self._say = say
        self._on_hangup = on_hangup
        self._stopped = asyncio.Event()
        self._at_once = asyncio.Event()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Run both until SIGTERM or SIGINT, then stop Envoy and after it the server.

        Raises:
            GatewayError: a part did not start, or ended by itself. The other has been stopped.
            OSError: a program cannot be started.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._hangup)
        try:
            await self._server.start()
            await self._until_ready(self._server, self._unready)
            if not self._stopped.is_set():
                await self._envoy.start()
                await self._until_ready(self._envoy, self._envoy_unready)
            if not self._stopped.is_set():
                on_ready()
                await self._first(self._stopped.wait(), self._server.wait(), self._envoy.wait())
                if not self._stopped.is_set():
                    await self._refuse_ended()
        finally:
            await self._end()

    def _stop(self) -> None:
        (self._at_once if self._stopped.is_set() else self._stopped).set()

    def _hangup(self) -> None:
        self._server.signal(signal.SIGHUP)
        self._on_hangup()

    async def _refuse_ended(self) -> None:
        """Raise an error for a part that has ended by itself."""
        for child in (self._server, self._envoy):
            if not child.running:
                raise GatewayError(_ended(child, await child.wait()))

    async def _envoy_unready(self) -> list[str]:
        return [] if await self._admin.ready() else ["its admin interface does not say that it is ready"]

    async def _until_ready(self, child: Child, unready: Callable[[], Awaitable[list[str]]]) -> None:
        """Wait until a part is ready, or this process is to stop.

        Raises:
            GatewayError: the part has ended, or took too long.
        """
        began = time.monotonic()
        said: list[str] = []
        while not self._stopped.is_set():
            if not child.running:
                status = await child.wait()
                raise GatewayError(f"before it was ready, {_ended(child, status)}")
            reasons = await unready()
            if not reasons:
                return
            waited = time.monotonic() - began
            if waited > READY_WITHIN:
                raise GatewayError(
                    f"{child.name} was not ready within {READY_WITHIN:.0f} s: {'; '.join(reasons)}"
                )
            if waited > _SAY_WHY_AFTER and reasons != said:
                self._say(f"waiting for {child.name}: {'; '.join(reasons)}")
                said = reasons
            await self._first(self._stopped.wait(), asyncio.sleep(_POLL))

    async def _first(self, *waits: Awaitable[object]) -> None:
        """Wait for the first of these."""
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _end(self) -> None:
        """Stop Envoy, once its requests are done, then the server. A second signal ends the wait."""
        if self._envoy.running and self._server.running:
            self._say("stopping: Envoy takes no new connections and finishes its requests")
            drained = asyncio.ensure_future(self._admin.drain(self._drain_seconds))
            await self._first(asyncio.shield(drained), self._at_once.wait())
            if drained.done() and not drained.result():
                self._say(f"requests were still under way after {self._drain_seconds:.0f} s")
            drained.cancel()
        if self._envoy.running:
            await self._envoy.stop(within=_ENVOY_ENDS_WITHIN)
        if self._server.running:
            ending = asyncio.ensure_future(self._server.stop(within=self._drain_seconds + _MARGIN))
            await asyncio.sleep(_POLL)
            # Envoy has gone: the second signal skips the delay in which it would notice.
            self._server.signal(signal.SIGTERM)
            await ending


def _ended(child: Child, status: int) -> str:
    last = f" (its last line: {child.last_lines[-1].strip()})" if child.last_lines else ""
    return f"{child.name} ended with {describe(status)}{last}"
