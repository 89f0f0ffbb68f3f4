"""Token buckets: how often something may happen, in integer arithmetic. No I/O. For any thread.

A bucket is kept as one number, the moment at which it is full again (the generic cell rate algorithm, ITU-T
I.371): each token that is taken moves it by one interval, and it is at most ``burst`` intervals ahead.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

SECOND = 1_000_000_000
"""Nanoseconds."""

MAX_BUCKETS = 65_536
"""Buckets that are not full. Beyond that the one unused for longest counts as full again."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate, and how many tokens a full bucket has.

    Attributes:
        count: tokens that are added in a period.
        seconds: the period.
        burst: the most tokens that a bucket holds.
    """

    count: int
    seconds: int
    burst: int

    @property
    def interval(self) -> int:
        """Return the nanoseconds for one token, rounded up: never more tokens than the rate says."""
        return -(-self.seconds * SECOND // self.count)


class TokenBuckets:
    """Buckets by key. ``timer`` returns nanoseconds that never go back."""

    def __init__(self, *, size: int = MAX_BUCKETS, timer: Callable[[], int] = time.monotonic_ns) -> None:
        self._size = size
        self._timer = timer
        self._full_at: OrderedDict[Hashable, int] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, wanted: Sequence[tuple[Hashable, Rate]]) -> tuple[int, int] | None:
        """Take one token from each bucket, or from none if one is empty.

        Return None, or the place of the bucket that is empty for longest, and for how many nanoseconds.
        """
        with self._lock:
            now = self._timer()
            full_at = [max(self._full_at.get(key, now), now) + rate.interval for key, rate in wanted]
            waits = [
                at - now - rate.interval * rate.burst for at, (_, rate) in zip(full_at, wanted, strict=True)
            ]
            longest = max(waits, default=0)
            if longest > 0:
                return waits.index(longest), longest
            for at, (key, _) in zip(full_at, wanted, strict=True):
                self._full_at[key] = at
                self._full_at.move_to_end(key)
            while len(self._full_at) > self._size:
                self._full_at.popitem(last=False)
            return None
