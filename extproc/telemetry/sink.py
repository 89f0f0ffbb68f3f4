"""Sinks for audit lines: standard output, or a file that may be rotated."""

import contextlib
import os
import select
import stat
from pathlib import Path

_MODE = 0o640  # the group may read it, to collect logs


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything; wait if the reader is slow.

    Raises:
        OSError: it cannot be written.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # another process that shares the descriptor made it non-blocking
            select.select([], [descriptor], [])


class StreamSink:
    """Writes lines to an open descriptor, which stays open.

    Several processes may write to one pipe. Only writes of at most PIPE_BUF bytes are atomic there
    (POSIX), so longer data is split between lines.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._max_write = select.PIPE_BUF if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else None

    def write(self, lines: bytes) -> None:
        """Write whole lines."""
        while lines:
            end = len(lines)
            if self._max_write is not None and end > self._max_write:
                end = lines.rfind(b"\n", 0, self._max_write) + 1 or lines.index(b"\n") + 1
            write_all(self._descriptor, lines[:end])
            lines = lines[end:]

    def close(self) -> None:
        """Do nothing: the descriptor belongs to the caller."""


class FileSink:
    """Appends lines to a file, and opens it again after it was renamed or removed: no signal is needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()
        self._truncated = False  # the last line was written in part: a line feed must come first

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)

    def write(self, lines: bytes) -> None:
        """Append whole lines."""
        self._reopen_if_rotated()
        before = os.fstat(self._descriptor).st_size
        try:
            write_all(self._descriptor, b"\n" + lines if self._truncated else lines)
        except OSError:
            self._truncated = self._truncated or os.fstat(self._descriptor).st_size != before
            raise
        self._truncated = False

    def _reopen_if_rotated(self) -> None:
        opened = os.fstat(self._descriptor)
        with contextlib.suppress(FileNotFoundError):
            named = self._path.stat()
            if (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino):
                return
        descriptor = self._open()
        os.close(self._descriptor)
        self._descriptor, self._truncated = descriptor, False

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
