"""A limit on repeated log lines: a fault that affects every request must not fill the disk."""

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
    """A structlog processor. Lines with the same event, reason and level are of one kind.

    It drops further lines of a kind after ``LIMIT`` in a window. The first line of the next window has
    their number in the field ``suppressed``.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[Any, ...], tuple[float, int]] = {}  # the window's start, lines in it

    def __call__(self, _logger: object, _method: str, line: EventDict) -> EventDict:
        """Return the line.

        Raises:
            DropEvent: the line is over the limit.
        """
        kind = (line.get("event"), line.get("reason"), line.get("level"))
        now = self._clock()
        with self._lock:
            began, seen = self._kinds.get(kind, (now, 0))
            if now - began >= WINDOW:
                if seen > LIMIT:
                    line["suppressed"] = seen - LIMIT
                began, seen = now, 0
            if kind not in self._kinds and len(self._kinds) >= _MAX_KINDS:
                self._kinds.clear()  # there are few kinds; this only bounds memory
            self._kinds[kind] = (began, seen + 1)
            if seen >= LIMIT:
                raise DropEvent
        return line
