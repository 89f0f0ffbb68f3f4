"""Growing waits between attempts."""

import random


class Backoff:
    """Waits that double with each failure, with jitter. ``longest`` and the first wait in seconds."""

    def __init__(self, first: float = 0.5, longest: float = 30.0) -> None:
        self._first, self._longest = first, longest
        self.failures = 0

    def next(self) -> float:
        """Return how long to wait after one more failure."""
        wait: float = min(self._longest, self._first * 2 ** min(self.failures, 16))
        self.failures += 1
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, no secret

    def reset(self) -> None:
        """Begin anew, after a success."""
        self.failures = 0
