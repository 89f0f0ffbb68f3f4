"""How long clients of an HTTP listener may take, and how many connections they may have."""

import asyncio
import socket
from collections.abc import Callable, Iterator
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


class Deadline:
    """The time by which a connection must have done what it does now: request, response, or nothing.

    No further byte extends it. ``refuse`` ends the connection of a client that is too slow. One that was only
    kept open ends without it: that is no fault, so it is not logged.
    """

    def __init__(self, transport: asyncio.Transport, refuse: Callable[[str], None]) -> None:
        self._transport = transport
        self._refuse = refuse
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.expect_request()

    def hear(self) -> None:
        """Note that bytes have come: the first ones of a request begin its time."""
        if self._is_idle:
            self.expect_request()

    def expect_request(self) -> None:
        """Wait for the whole of a request, which has begun or is the connection's first."""
        self._set(REQUEST_TIMEOUT)

    def respond(self) -> None:
        """Wait for the response to be made and received."""
        self._set(RESPONSE_TIMEOUT)

    def rest(self) -> None:
        """Wait for the next request to begin."""
        self._set(IDLE_TIMEOUT, is_idle=True)

    def end(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, seconds: float, *, is_idle: bool = False) -> None:
        self.end()
        self._is_idle = is_idle
        self._timer = self._loop.call_later(seconds, self._pass)

    def _pass(self) -> None:
        if self._is_idle:
            self._transport.abort()
        else:
            self._refuse("too_slow")


def listen_tcp(address: str) -> socket.socket:
    """Listen at HOST:PORT, port 0 for a free one; raises ``OSError``."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
