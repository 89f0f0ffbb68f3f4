"""One child process: its output with a prefix, its signals, its end."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from extproc.gateway import tied

_CHUNK = 64 * 1024  # bytes
_LONGEST_LINE = 1024 * 1024  # bytes that are kept until a line ends
_KEPT_LINES = 5

Write = Callable[[str, bytes, bool], None]
"""Writes a line of a child; the arguments are its name, the line, and whether it came from standard error."""


class Child:
    """A program that runs once.

    It has a process group of its own: Ctrl-C in a terminal reaches the parent only, which decides the order.

    Attributes:
        name: for messages and prefixes.
        last_lines: the last lines of its standard error.
    """

    def __init__(self, name: str, command: Sequence[str], *, write: Write) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._command = command
        self._write = write
        self._process: asyncio.subprocess.Process | None = None
        self._end: asyncio.Task[int] | None = None

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._end is not None and not self._end.done()

    async def start(self) -> None:
        """Start the program.

        Raises:
            OSError: it cannot be started.
        """
        self._process = await asyncio.create_subprocess_exec(
            *_tied(self._command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            process_group=0,
        )
        self._end = asyncio.create_task(self._run(self._process))

    async def wait(self) -> int:
        """Wait until it has ended and its output is written; return its exit status."""
        assert self._end is not None  # noqa: S101 - it has been started
        return await asyncio.shield(self._end)

    def signal(self, number: int) -> None:
        """Send a signal; does nothing to a process that has ended."""
        if self.running and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self, *, within: float) -> int:
        """End it with SIGTERM, or with SIGKILL after ``within`` seconds; return its exit status."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self.wait(), within)
        self.signal(signal.SIGKILL)
        return await self.wait()

    async def _run(self, process: asyncio.subprocess.Process) -> int:
        assert process.stdout is not None  # noqa: S101 - both are pipes
        assert process.stderr is not None  # noqa: S101
        await asyncio.gather(
            self._copy(process.stdout, errors=False), self._copy(process.stderr, errors=True)
        )
        return await process.wait()

    async def _copy(self, stream: asyncio.StreamReader, *, errors: bool) -> None:
        rest = b""
        while chunk := await stream.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._line(line, errors=errors)
        if rest:
            self._line(rest, errors=errors)

    def _line(self, line: bytes, *, errors: bool) -> None:
        if errors:
            self.last_lines.append(line.decode("utf-8", "replace"))
        self._write(self.name, line, errors)


def _tied(command: Sequence[str]) -> list[str]:
    """Return the command line of a program that ends with this process, where the system has that."""
    if sys.platform != "linux":
        return list(command)
    program = str(Path(tied.__file__))
    # -I and -S: no module from the working directory, and nothing of site-packages to load.
    return [sys.executable, "-I", "-S", program, str(os.getpid()), *command]
