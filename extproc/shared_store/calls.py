"""Calls of a store: the seam between this room and the library that speaks to the server."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

Reply = Any
"""Bytes, an integer, None, or a list or mapping of these."""


class CallError(Exception):
    """A call failed. ``answered``: the server answered with an error. The message is a kind of error."""

    def __init__(self, kind: str, *, answered: bool) -> None:
        super().__init__(kind)
        self.answered = answered


class Client(Protocol):
    """Calls commands and scripts of Valkey or Redis, without a limit on time."""

    async def call(self, *command: str | bytes | float) -> Reply:
        """Return the reply to a command; raises ``CallError``."""
        ...

    async def evaluate(self, script: str, keys: list[str], *arguments: str | bytes | float) -> Reply:
        """Return what a script returns; raises ``CallError``."""
        ...

    def messages(self, channel: str) -> AsyncIterator[bytes]:
        """Yield the messages of a channel; raises ``CallError``."""
        ...

    async def close(self) -> None:
        """Close all connections; the next call makes new ones."""
        ...
