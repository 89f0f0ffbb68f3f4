"""How long to wait before a worker that ended is started again."""

FIRST = 0.2
LONGEST = 30.0
STABLE = 60.0


class BackOff:
    """Seconds between restarts: twice as many each time, from ``FIRST`` up to ``LONGEST``.

    A life of ``STABLE`` seconds or more begins the count anew.
    """

    def __init__(self) -> None:
        self._next = FIRST

    def after(self, lived: float) -> float:
        """The seconds to wait after a life of ``lived`` seconds."""
        if lived >= STABLE:
            self._next = FIRST
        delay = self._next
        self._next = min(2 * delay, LONGEST)
        return delay
