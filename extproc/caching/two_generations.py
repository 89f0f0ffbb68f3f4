"""A bounded memory for what is cheap to work out again: what is not used for a while is forgotten.

Two generations instead of an order of use: a look costs a dictionary's, which matters for what
is looked up with every request. For any thread: what two do at once costs an entry at most.
"""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class TwoGenerationCache(Generic[_Key, _Value]):
    """At most twice ``size`` entries. One that is not asked for during ``seconds`` to twice that long goes.

    That happens when any entry is asked for, or at ``age``: nothing runs in between.
    """

    def __init__(self, *, size: int, seconds: float, timer: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._seconds = seconds
        self._timer = timer
        self._young: dict[_Key, _Value] = {}
        self._old: dict[_Key, _Value] = {}
        self._until = timer() + seconds
        self._lock = threading.Lock()  # one turn of generations at a time

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def get(self, key: _Key) -> _Value | None:
        """The value, if it is remembered."""
        self.age()
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: _Key, value: _Value) -> None:
        """Remember a value."""
        if len(self._young) >= self._size:
            with self._lock:
                if len(self._young) >= self._size:  # pragma: no branch - or another thread was faster
                    self._next(self._young)
        self._young[key] = value

    def age(self) -> None:
        """Forget what has not been asked for long enough."""
        if self._timer() > self._until:
            with self._lock:
                now = self._timer()
                if now > self._until:  # pragma: no branch - or another thread was faster
                    # After a long silence nothing of before is young enough.
                    self._next({} if now > self._until + self._seconds else self._young)

    def _next(self, old: dict[_Key, _Value]) -> None:
        self._old, self._young = old, {}
        self._until = self._timer() + self._seconds
