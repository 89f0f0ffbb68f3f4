"""A bounded cache that several threads may use: cachetools' with a lock around each operation.

What one thread looks up while another stores or evicts must be whole: these caches hold
users' sessions and credentials.
"""

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from cachetools import Cache

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class LockedCache(Generic[_Key, _Value]):
    """Owns the cache it is given; nobody else may keep a reference to that."""

    __slots__ = ("_cache", "_lock")

    def __init__(self, cache: Cache[_Key, _Value]) -> None:
        self._cache = cache
        self._lock = threading.RLock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._cache)

    def __contains__(self, key: _Key) -> bool:
        with self._lock:
            return key in self._cache

    def __iter__(self) -> Iterator[_Key]:
        raise TypeError("iterate over values(), a copy")

    @property
    def evictions(self) -> int:
        """Entries that had to make room, in caches that count them."""
        return int(getattr(self._cache, "evictions", 0))

    def get(self, key: _Key) -> _Value | None:
        """The value, if it is there and has not ended."""
        try:
            with self._lock:
                return self._cache[key]  # get() would look twice
        except KeyError:
            return None

    def put(self, key: _Key, value: _Value) -> None:
        """Store, evicting others if need be."""
        with self._lock:
            self._cache[key] = value

    def put_if_absent(self, key: _Key, value: _Value) -> _Value:
        """The value that is there already, else the given one, stored."""
        with self._lock:
            return self._cache.setdefault(key, value)

    def drop(self, key: _Key, only: _Value | None = None) -> bool:
        """Forget a key, or only while it still has that very value; whether anything was dropped."""
        with self._lock:
            value = self._cache.get(key)
            if value is None or (only is not None and value is not only):
                return False
            del self._cache[key]
            return True

    def values(self) -> list[_Value]:
        """A copy of all living values."""
        with self._lock:
            return list(self._cache.values())

    def items(self) -> list[tuple[_Key, _Value]]:
        """A copy of all living keys and values."""
        with self._lock:
            return list(self._cache.items())

    def expire(self) -> None:
        """Free what has ended, in caches that end things."""
        with self._lock:
            expire = getattr(self._cache, "expire", None)
            if expire is not None:
                expire()
