"""A bounded cache whose entries end by themselves, in which one user cannot take the room of all others."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from cachetools import TLRUCache

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

FAIR_SHARE = 1 / 8
"""Of a full cache: whoever holds more makes room for more of it by what is its own."""

_STALE = 64  # keys of ended entries that may still be noted, besides as many as there are living ones


class ExpiringLRUCache(TLRUCache[Key, Value]):
    """Evicts the least recently used entry; for an owner with more than ``FAIR_SHARE``, that of its own.

    ``owner``: gives whose an entry is. ``evictions``: living entries that had to make room.
    """

    def __init__(self, *arguments: Any, owner: Callable[[Value], Hashable], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.evictions = 0
        self._owner = owner
        self._owners: dict[Key, Hashable] = {}
        self._keys: dict[Hashable, OrderedDict[Key, None]] = {}  # by owner, the least recently used first

    def __getitem__(self, key: Key) -> Value:
        """Return a living value, which is recently used from now on."""
        value = super().__getitem__(key)
        self._keys[self._owners[key]].move_to_end(key)
        return value

    def __setitem__(self, key: Key, value: Value) -> None:
        """Keep a value."""
        owner = self._owner(value)
        self._forget(key)
        if len(self) >= self.maxsize and key not in self:
            self._make_room(owner)
        super().__setitem__(key, value)
        self._owners[key] = owner
        self._keys.setdefault(owner, OrderedDict())[key] = None
        if len(self._owners) > 2 * len(self) + _STALE:
            for ended in [noted for noted in self._owners if noted not in self]:
                self._forget(ended)

    def __delitem__(self, key: Key) -> None:
        """Forget a key."""
        self._forget(key)
        super().__delitem__(key)

    def popitem(self) -> tuple[Key, Value]:
        """Remove the least recently used entry: what cachetools calls when the cache is full."""
        self.evictions += 1
        return super().popitem()

    def _make_room(self, owner: Hashable) -> None:
        """Evict the least recently used entry of an owner that has more than its share."""
        self.expire()
        own = self._keys.get(owner, OrderedDict())
        while len(self) >= self.maxsize and len(own) > self.maxsize * FAIR_SHARE:
            oldest = next(iter(own))
            if oldest in self:
                self.evictions += 1
                del self[oldest]
            else:
                self._forget(oldest)

    def _forget(self, key: Key) -> None:
        owner = self._owners.pop(key, None)
        own = self._keys.get(owner)
        if own is not None:
            own.pop(key, None)
            if not own:
                del self._keys[owner]
