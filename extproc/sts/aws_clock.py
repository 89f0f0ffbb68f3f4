"""AWS's clock, estimated from the ``Date`` of STS's answers.

AWS refuses signatures whose time differs by more than five minutes. A machine whose clock is wrong can
still sign if it knows the difference.
"""

from email.utils import parsedate_to_datetime

import structlog

from extproc.clock import Clock

TOLERATED = 5.0
"""Seconds of difference that are attributed to the network and to the resolution of ``Date``."""

CREDIBLE = 3600.0
"""Seconds above which a difference is ignored: the answer is wrong rather than the clock."""

_log = structlog.get_logger(__name__)


def seconds_ahead(date: str | None, now: float) -> float | None:
    """Return the seconds by which a ``Date`` (RFC 9110 6.6.1) is ahead of ``now``; None without one."""
    try:
        # The header is truncated to whole seconds: on average it is half a second behind.
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - now
    except (TypeError, ValueError, OverflowError):
        return None


class AwsClock:
    """A ``Clock`` that returns seconds since the epoch by AWS's clock."""

    def __init__(self, *, system: Clock) -> None:
        self._system = system
        self._offset = 0.0

    @property
    def offset(self) -> float:
        """Seconds by which AWS is ahead of this machine; 0 within ``TOLERATED``."""
        return self._offset

    def __call__(self) -> float:
        """Return the time by AWS's clock."""
        return self._system() + self._offset

    def observe(self, date: str | None) -> None:
        """Adjust the offset by the ``Date`` header of an answer that has just arrived."""
        difference = seconds_ahead(date, self._system())
        if difference is None:
            return
        if abs(difference) > CREDIBLE:
            _log.warning("clock_offset_ignored", seconds=round(difference))
            return
        offset = difference if abs(difference) > TOLERATED else 0.0
        if (offset == 0.0) != (self._offset == 0.0):
            _log.warning("clock_offset_changed", seconds=round(offset, 1))
        self._offset = offset
