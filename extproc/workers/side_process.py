"""A process beside the server that is restarted whenever it ends: the web console.

It has its own memory, its own interpreter lock and a lower priority, so it can neither slow nor endanger
requests. What happens to it is logged, and never ends the server.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence

import structlog

from extproc.workers.backoff import BackOff

_STOP_WITHIN = 3.0  # seconds
_CANNOT_START = 71  # EX_OSERR of sysexits.h

_log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def running(name: str, command: Sequence[str] | None) -> AsyncIterator[None]:
    """Keep a process running within the context; ``command`` of None runs nothing."""
    if command is None:
        yield
        return
    # The process ends when the other end closes: also when this one is killed.
    reads, writes = os.pipe()
    keeping = asyncio.create_task(_keep_running(name, [*command, "--lifeline", str(reads)], reads))
    try:
        yield
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        os.close(reads)
        os.close(writes)


async def _keep_running(name: str, command: Sequence[str], lifeline: int) -> None:
    back_off = BackOff()
    while True:
        began = time.monotonic()
        status = await _run(command, lifeline)
        lived = time.monotonic() - began
        # One that ends well has new settings, and begins anew at once.
        delay = back_off.after(lived) if status != 0 else 0.2
        _log.warning("side_process_ended", process=name, status=status, restart_in=delay)
        await asyncio.sleep(delay)


async def _run(command: Sequence[str], lifeline: int) -> int:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=(lifeline,)
        )
    except OSError as error:
        _log.error("side_process_cannot_start", error=type(error).__name__)
        return _CANNOT_START
    try:
        return await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_WITHIN)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        raise
