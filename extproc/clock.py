"""The clock as an argument: whatever depends on the time takes a ``Clock``."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch."""

system_clock: Clock = time.time
