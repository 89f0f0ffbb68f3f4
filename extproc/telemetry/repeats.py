"""Repeats of a log line, limited: a fault that meets every request must not fill the disk."""

import threading
import time
from typing import Any

from structlog.exceptions import DropEvent
from structlog.typing import EventDict

from extproc.clock import Clock

LIMIT = 10  # lines of one kind in a window
WINDOW = 10.0  # seconds
_MAX_KINDS = 1000


class Repeats:
    """A structlog processor. Lines of one event, reason and level are of one kind.

    After ``LIMIT`` of them the rest of the window is left out; the first one that is shown
    again says in ``suppressed`` how many were.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[Any, ...], tuple[float, int]] = {}  # the window's begin, lines in it

    def __call__(self, _logger: object, _method: str, line: EventDict) -> EventDict:
        """Let a line pass, or raise ``DropEvent``."""
        kind = (line.get("event"), line.get("reason"), line.get("level"))
        now = self._clock()
        with self._lock:
            began, seen = self._kinds.get(kind, (now, 0))
            if now - began >= WINDOW:
                if seen > LIMIT:
                    line["suppressed"] = seen - LIMIT
                began, seen = now, 0
            if kind not in self._kinds and len(self._kinds) >= _MAX_KINDS:
                self._kinds.clear()  # kinds are few; whoever makes so many gets no limit
            self._kinds[kind] = (began, seen + 1)
            if seen >= LIMIT:
                raise DropEvent
        return line
