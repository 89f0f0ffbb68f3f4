"""Connections to the admin HTTP listener: few, short of patience, and quiet in the log.

uvicorn bounds the time between two requests only. Here everything that a client can be slow with has an
absolute end, and of too many connections the oldest makes room: a probe's, which lasts milliseconds, is
served whatever others hold open.
"""

import asyncio
import logging
from typing import Any, cast

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 256
"""Connections at a time."""

REQUEST_WITHIN = 10.0
"""Seconds for a request to come in whole, from the connection's begin or the request's first byte."""

ANSWERED_WITHIN = 30.0
"""Seconds for an answer to be made and taken."""

IDLE_FOR = 75.0
"""Seconds that a connection may wait for its next request: longer than a scrape interval of a minute."""

_log = structlog.get_logger(__name__)
# Of uvicorn's own messages each request of an attacker could cause one; ours say as much.
_no_log = logging.getLogger(f"{__name__}.uvicorn")
_no_log.disabled = True


class OpenConnections:
    """The open connections, oldest first. For one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._connections: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: "Connection") -> None:
        """Let a connection in; the oldest one makes room."""
        if len(self._connections) >= self._most:
            oldest = next(iter(self._connections))
            self.discard(oldest)
            oldest.give_up("too_many")
        self._connections[connection] = None

    def discard(self, connection: "Connection") -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)


class Connection(H11Protocol):
    """One client's connection, HTTP/1.1 with keep-alive."""

    def __init__(self, *, open_ones: OpenConnections, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self.logger = _no_log
        self.timeout_keep_alive = round(2 * IDLE_FOR)  # ours comes first
        self._open_ones = open_ones
        self._end: asyncio.TimerHandle | None = None
        self._waits = False  # for a request of which nothing has come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._open_ones.add(self)
        self._within(REQUEST_WITHIN)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._open_ones.discard(self)
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; the time it may take does not begin anew with each."""
        if self._waits:
            self._waits = False
            self._within(REQUEST_WITHIN)
        was_answering = self._answers
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - uvicorn lets some of h11's through
            self.give_up("bad_request", error=type(error).__name__)
            return
        if self._answers and not was_answering:
            self._within(ANSWERED_WITHIN)

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it has come already."""
        self._waits = True
        self._within(IDLE_FOR)
        super().on_response_complete()
        if self._answers:
            self._waits = False
            self._within(ANSWERED_WITHIN)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        _log.warning("admin_connection_refused", reason="bad_request")
        super().send_400_response(msg)

    def give_up(self, reason: str, **more: str) -> None:
        """Close the connection at once."""
        _log.warning("admin_connection_refused", reason=reason, **more)
        self.transport.abort()

    @property
    def _answers(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _within(self, seconds: float) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = self.loop.call_later(seconds, self._time_is_over)

    def _time_is_over(self) -> None:
        if self._waits:
            self.transport.abort()  # without a line: a client that keeps a connection has done nothing wrong
        else:
            self.give_up("too_slow")
