"""The newest events of the audit log, in memory, for those who watch decisions as they are made."""

import secrets
import threading
from collections import deque
from dataclasses import dataclass

MAX_BYTES = 8 * 1024 * 1024
"""Bytes of events that are kept."""

_MAX_ANSWER = 1024 * 1024  # bytes of events in one answer


@dataclass(frozen=True, slots=True)
class Page:
    """Events in the order in which they were written.

    Attributes:
        lines: one JSON object each.
        next_cursor: where the next page begins.
        more: whether there are more events already.
        missed: whether events after the cursor are no longer there.
    """

    lines: tuple[str, ...]
    next_cursor: str
    more: bool
    missed: bool


class RecentEvents:
    """The last events, bounded in bytes. The audit log's thread appends; any thread reads.

    Whole batches are kept as they were rendered, and split only for a reader: an event costs its writer
    nothing of its own.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._batches: deque[tuple[int, bytes]] = deque()  # with the number of its first event
        self._bytes = 0
        self._next = 0
        self._process = secrets.token_hex(4)  # a cursor of an earlier process means nothing in this one
        self._lock = threading.Lock()

    def append(self, lines: bytes, events: int) -> None:
        """Keep a batch of ``events`` lines; forget the oldest ones if there are too many bytes."""
        with self._lock:
            self._batches.append((self._next, lines))
            self._next += events
            self._bytes += len(lines)
            while self._bytes > self._max_bytes:
                self._bytes -= len(self._batches.popleft()[1])

    def page(self, cursor: str, limit: int) -> Page:
        """Return at most ``limit`` events from ``cursor`` on; an empty one is the oldest event.

        Raises:
            ValueError: the cursor is none of an earlier page.
        """
        process, _, number = cursor.partition("-")
        if cursor and not (process and number.isdecimal()):
            raise ValueError("cursor: is none of an earlier answer")
        with self._lock:
            batches, end = list(self._batches), self._next
        oldest = batches[0][0] if batches else end
        begin = int(number) if process == self._process else oldest
        missed = bool(cursor) and (process != self._process or begin < oldest)
        begin = min(max(begin, oldest), end)
        lines = _lines(batches, begin, limit)
        following = begin + len(lines)
        return Page(tuple(lines), f"{self._process}-{following}", following < end, missed)


def _lines(batches: list[tuple[int, bytes]], begin: int, limit: int) -> list[str]:
    lines: list[str] = []
    size = 0
    following = [first for first, _ in batches[1:]]
    for position, (first, batch) in enumerate(batches):
        if position < len(following) and following[position] <= begin:
            continue
        for line in batch.decode("ascii").splitlines()[max(begin - first, 0) :]:
            size += len(line)
            if len(lines) >= limit or (lines and size > _MAX_ANSWER):
                return lines
            lines.append(line)
    return lines
