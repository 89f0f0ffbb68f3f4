"""A bounded cache for values that are cheap to compute again, with expiry of idle entries.

It keeps two generations instead of an order of use, so a lookup costs no more than that of a dictionary. For
any thread: only the change of generations takes a lock, and a race loses one entry at most. Its owner calls
``age`` regularly.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class TwoGenerationCache(Generic[_Key, _Value]):
    """Holds at most twice ``size`` entries. ``age`` evicts those that nobody asked for during ``seconds``.

    ``weigh``: for how many entries one counts, given its value.
    """

    def __init__(
        self,
        *,
        size: int,
        seconds: float,
        timer: Callable[[], float] = time.monotonic,
        weigh: Callable[[_Value], int] = lambda _value: 1,
    ) -> None:
        self._size = size
        self._weigh = weigh
        self._weight = 0  # of the young
        self._seconds = seconds
        self._timer = timer
        self._young: dict[_Key, _Value] = {}
        self._old: dict[_Key, _Value] = {}
        self._until = timer() + seconds
        self._lock = threading.Lock()  # held while generations change

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def get(self, key: _Key) -> _Value | None:
        """Return the value, or None."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: _Key, value: _Value) -> None:
        """Store a value."""
        weight = self._weigh(value)
        if self._weight + weight > self._size:
            with self._lock:
                if self._weight + weight > self._size:  # pragma: no branch - or another thread was faster
                    self._next(self._young)
        if key not in self._young:
            self._weight += weight
        self._young[key] = value

    def age(self) -> None:
        """Evict what has expired: after one to two times ``seconds``, and the time until this is called."""
        if self._timer() > self._until:
            with self._lock:
                now = self._timer()
                if now > self._until:  # pragma: no branch - or another thread was faster
                    # After a long pause both generations have expired.
                    self._next({} if now > self._until + self._seconds else self._young)

    def _next(self, old: dict[_Key, _Value]) -> None:
        self._old, self._young, self._weight = old, {}, 0
        self._until = self._timer() + self._seconds
