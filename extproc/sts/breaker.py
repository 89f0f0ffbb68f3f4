"""A circuit breaker: stops asking a service that does not answer, and notices when it does again.

closed ──several failures in a row──▶ open ──after a while──▶ half-open ──probe succeeds──▶ closed
                                       ▲                         │
                                       └──────probe fails────────┘

Belongs to one event loop; does no I/O and keeps no timer.
"""

from enum import IntEnum

from extproc.clock import Clock


class State(IntEnum):
    """The breaker's state; the numbers are what the metric shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class CircuitBreaker:
    """Opens after ``failures`` in a row, for ``open_for`` seconds; then one caller at a time may probe."""

    def __init__(self, *, failures: int, open_for: float, clock: Clock) -> None:
        self._limit = failures
        self._open_for = open_for
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """Where the breaker stands now."""
        if self._opened_at is None:
            return State.CLOSED
        # A negative age: the clock was set back, which must not keep the breaker open.
        waited = self._clock() - self._opened_at
        return State.OPEN if 0 <= waited < self._open_for else State.HALF_OPEN

    def would_admit(self) -> bool:
        """Return whether a call would be admitted now, without asking for it to be."""
        return self.state is State.CLOSED or (self.state is State.HALF_OPEN and not self._probing)

    def admits(self) -> bool:
        """Whether a call may be made. Whoever is admitted must report ``succeeded`` or ``failed``."""
        state = self.state
        if state is State.CLOSED:
            return True
        if state is State.OPEN or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """The service answered, whatever it said."""
        self._failures = 0
        self._opened_at = None
        self._probing = False

    def failed(self) -> None:
        """The service did not answer, or not sensibly."""
        self._failures += 1
        if self._probing or self._failures >= self._limit:
            self._opened_at = self._clock()
        self._probing = False

    def abandoned(self) -> None:
        """The call ended without telling anything about the service."""
        self._probing = False
