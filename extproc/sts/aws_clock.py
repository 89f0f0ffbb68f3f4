"""The clock that AWS goes by, learned from the ``Date`` of STS's answers.

AWS refuses signatures more than five minutes off. A machine whose clock is wrong by
more than a few seconds can still sign, if it knows by how much.
"""

from email.utils import parsedate_to_datetime

import structlog

from extproc.clock import Clock

TOLERATED = 5.0
"""Seconds of difference that are put down to the network and to ``Date``'s resolution."""

CREDIBLE = 3600.0
"""Seconds beyond which a difference is no clock that is wrong but an answer that is."""

_log = structlog.get_logger(__name__)


class AwsClock:
    """Seconds since the epoch by AWS's clock. Call it like a ``Clock``."""

    def __init__(self, *, system: Clock) -> None:
        self._system = system
        self._offset = 0.0

    @property
    def offset(self) -> float:
        """Seconds by which AWS is ahead of this machine; 0 within ``TOLERATED``."""
        return self._offset

    def __call__(self) -> float:
        """The time by AWS's clock."""
        return self._system() + self._offset

    def observe(self, date: str | None) -> None:
        """Learn from the ``Date`` header (RFC 9110 6.6.1) of an answer that has just come."""
        try:
            # The header has whole seconds, cut off: on average it is half a second behind.
            difference = parsedate_to_datetime(date or "").timestamp() + 0.5 - self._system()
        except (TypeError, ValueError, OverflowError):
            return
        if abs(difference) > CREDIBLE:
            _log.warning("clock_offset_ignored", seconds=round(difference))
            return
        offset = difference if abs(difference) > TOLERATED else 0.0
        if (offset == 0.0) != (self._offset == 0.0):
            _log.warning("clock_offset_changed", seconds=round(offset, 1))
        self._offset = offset
