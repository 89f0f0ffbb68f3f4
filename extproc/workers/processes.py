"""How the supervisor starts the process of a worker: as a new one, or as a fork (``fork_server``)."""

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from extproc.workers.spec import WorkerSpec


class Process(Protocol):
    """A process that was started."""

    async def wait(self) -> int:
        """Wait for its end; return its exit status, or the negative number of the signal that ended it."""

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; raises ``ProcessLookupError`` if the process has ended."""


class Starter(Protocol):
    """Starts workers."""

    async def start(self, spec: WorkerSpec) -> Process:
        """Start a worker. It inherits the lifeline that ``spec`` names, and nothing else.

        Raises:
            OSError: it cannot be started.
        """

    def close(self) -> None:
        """Let go of what it holds; workers that run stay."""


class NewProcesses:
    """Starts each worker by fork and exec, so that it inherits nothing of the supervisor's gRPC.

    Args:
        command: the command line to which the ``WorkerSpec`` is added.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    async def start(self, spec: WorkerSpec) -> Process:
        """Start a worker; raises ``OSError``."""
        return await asyncio.create_subprocess_exec(
            *self._command,
            "--as-worker",
            spec.to_json(),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(spec.lifeline,),
        )

    def close(self) -> None:
        """Do nothing."""


def name_process(name: str) -> None:
    """Name this process for ``ps`` and ``top``, in 15 characters, where the system knows such names."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name, "ascii")
