"""Where audit lines go: standard output, or a file that may be rotated away under us."""

import contextlib
import os
import select
import stat
from pathlib import Path

_MODE = 0o640  # the operator's, and the group's that collects logs


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything; waits where the reader is slow. Raises ``OSError``."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # somebody we share the descriptor with made it non-blocking
            select.select([], [descriptor], [])


class StreamSink:
    """Lines to an open descriptor, which stays open.

    Several processes may share a pipe, which keeps together what is written to it at once only
    up to a size (POSIX, PIPE_BUF); so no more than that is.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at_once = select.PIPE_BUF if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else None

    def write(self, lines: bytes) -> None:
        """Write whole lines."""
        while lines:
            end = len(lines)
            if self._at_once is not None and end > self._at_once:
                end = lines.rfind(b"\n", 0, self._at_once) + 1 or lines.index(b"\n") + 1
            write_all(self._descriptor, lines[:end])
            lines = lines[end:]

    def close(self) -> None:
        """Nothing of ours to close."""


class FileSink:
    """Lines appended to a file. Opened anew when another file, or none, has its name: no signal is needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()
        self._torn = False  # a line was cut off: the next one begins with a line feed

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)

    def write(self, lines: bytes) -> None:
        """Append whole lines."""
        self._follow()
        before = os.fstat(self._descriptor).st_size
        try:
            write_all(self._descriptor, b"\n" + lines if self._torn else lines)
        except OSError:
            self._torn = self._torn or os.fstat(self._descriptor).st_size != before
            raise
        self._torn = False

    def _follow(self) -> None:
        """Go on in the file that has the name now."""
        ours = os.fstat(self._descriptor)
        with contextlib.suppress(FileNotFoundError):
            theirs = self._path.stat()
            if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
                return
        descriptor = self._open()
        os.close(self._descriptor)
        self._descriptor, self._torn = descriptor, False

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
