"""A bounded cache whose entries end by themselves, and that counts what had to make room."""

from typing import Any, TypeVar

from cachetools import TLRUCache

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedCache(TLRUCache[Key, Value]):
    """``evictions``: entries that were not at their end when another one needed their place."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.evictions = 0

    def popitem(self) -> tuple[Key, Value]:
        """Remove the least recently used entry: what cachetools calls when the cache is full."""
        self.evictions += 1
        return super().popitem()
