"""Delays before the supervisor restarts a worker."""

FIRST = 0.2
LONGEST = 30.0
STABLE = 60.0


class BackOff:
    """Delays between restarts: doubled each time, from ``FIRST`` to ``LONGEST`` seconds.

    The next delay is ``FIRST`` again after a process that lived for ``STABLE`` seconds.
    """

    def __init__(self) -> None:
        self._next = FIRST

    def after(self, lived: float) -> float:
        """Return the seconds to wait after a process that lived for ``lived`` seconds."""
        if lived >= STABLE:
            self._next = FIRST
        delay = self._next
        self._next = min(2 * delay, LONGEST)
        return delay
