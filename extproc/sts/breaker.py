"""A circuit breaker: stops calls to a service that does not answer, and probes whether it does again.

closed ──several failures in a row──▶ open ──after a while──▶ half-open ──probe succeeds──▶ closed
                                       ▲                         │
                                       └──────probe fails────────┘

Belongs to one event loop; does no I/O and keeps no timer.
"""

from enum import IntEnum

from extproc.clock import Clock


class State(IntEnum):
    """The breaker's state; the numbers are the values of the metric."""

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
        """The present state."""
        if self._opened_at is None:
            return State.CLOSED
        # A negative age means the clock was set back, which must not keep the breaker open.
        waited = self._clock() - self._opened_at
        return State.OPEN if 0 <= waited < self._open_for else State.HALF_OPEN

    def would_admit(self) -> bool:
        """Return whether ``admits`` would return True now. Changes nothing."""
        return self.state is State.CLOSED or (self.state is State.HALF_OPEN and not self._probing)

    def admits(self) -> bool:
        """Return whether a call may be made; then its end must be reported by one of the methods below."""
        state = self.state
        if state is State.CLOSED:
            return True
        if state is State.OPEN or self._probing:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Report that the service answered, also with an error."""
        self._failures = 0
        self._opened_at = None
        self._probing = False

    def failed(self) -> None:
        """Report that the service did not answer, or not usably."""
        self._failures += 1
        if self._probing or self._failures >= self._limit:
            self._opened_at = self._clock()
        self._probing = False

    def abandoned(self) -> None:
        """Report that the call ended without showing anything about the service."""
        self._probing = False
