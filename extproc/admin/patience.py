"""How long clients of an HTTP listener may take, and how many connections they may have."""

import socket
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

MAX_CONNECTIONS = 256
"""Connections at a time."""

REQUEST_TIMEOUT = 10.0
"""Seconds to receive a whole request, from the start of the connection or the request's first byte."""

RESPONSE_TIMEOUT = 30.0
"""Seconds to make a response and have the client receive it."""

IDLE_TIMEOUT = 75.0
"""Seconds that a connection may wait for its next request: longer than a scrape interval of a minute."""

BACKLOG = 128
"""Connections that wait to be accepted."""


class Refusable(Protocol):
    """A connection."""

    def refuse(self, reason: str, **fields: str) -> None:
        """Close the connection at once, and log why."""


Open = TypeVar("Open", bound=Refusable)


class OpenConnections(Generic[Open]):
    """The open connections, oldest first. For one event loop.

    When there are too many, the oldest one is closed: a probe, which lasts milliseconds, is served whatever
    other clients hold open.
    """

    def __init__(self, limit: int = MAX_CONNECTIONS) -> None:
        self._limit = limit
        self._connections: dict[Open, None] = {}

    def __iter__(self) -> Iterator[Open]:
        return iter(tuple(self._connections))

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Open) -> None:
        """Add a connection; close the oldest one if there are too many."""
        if len(self._connections) >= self._limit:
            oldest = next(iter(self._connections))
            self.discard(oldest)
            oldest.refuse("too_many")
        self._connections[connection] = None

    def discard(self, connection: Open) -> None:
        """Remove a connection, if it is there."""
        self._connections.pop(connection, None)


def listen_tcp(address: str) -> socket.socket:
    """Listen at HOST:PORT, port 0 for a free one; raises ``OSError``."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
