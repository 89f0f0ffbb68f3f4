"""Connections to the admin HTTP listener: limited in number and in time, and quiet in the log.

uvicorn limits only the time between two requests. Here each phase of a connection has a deadline that no
further byte extends. When there are too many connections, the oldest one is closed: a probe, which lasts
milliseconds, is served whatever other clients hold open.
"""

import asyncio
import logging
import socket
from functools import partial
from typing import Any, cast

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

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

_log = structlog.get_logger(__name__)
# uvicorn logs a line for each bad request, so an attacker could fill the log. Our own lines are limited.
_no_log = logging.getLogger(f"{__name__}.uvicorn")
_no_log.disabled = True


class OpenConnections:
    """The open connections, oldest first. For one event loop."""

    def __init__(self, limit: int = MAX_CONNECTIONS) -> None:
        self._limit = limit
        self._connections: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: "Connection") -> None:
        """Add a connection; close the oldest one if there are too many."""
        if len(self._connections) >= self._limit:
            oldest = next(iter(self._connections))
            self.discard(oldest)
            oldest.refuse("too_many")
        self._connections[connection] = None

    def discard(self, connection: "Connection") -> None:
        """Remove a connection, if it is there."""
        self._connections.pop(connection, None)


class Connection(H11Protocol):
    """One client's connection, HTTP/1.1 with keep-alive."""

    def __init__(self, *, open_connections: OpenConnections, **options: Any) -> None:
        super().__init__(**options)
        self.logger = _no_log
        self.timeout_keep_alive = round(2 * IDLE_TIMEOUT)  # our own timer fires first
        self._open_connections = open_connections
        self._deadline: asyncio.TimerHandle | None = None
        self._is_idle = False  # no byte of the next request has come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._open_connections.add(self)
        self._set_deadline(REQUEST_TIMEOUT)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection and its timer."""
        self._open_connections.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request. Only the first ones set the deadline, so slow clients cannot extend it."""
        if self._is_idle:
            self._is_idle = False
            self._set_deadline(REQUEST_TIMEOUT)
        was_responding = self._is_responding
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - uvicorn does not catch all of h11's errors
            self.refuse("bad_request", error=type(error).__name__)
            return
        if self._is_responding and not was_responding:
            self._set_deadline(RESPONSE_TIMEOUT)

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it has come already."""
        self._is_idle = True
        self._set_deadline(IDLE_TIMEOUT)
        super().on_response_complete()
        if self._is_responding:
            self._is_idle = False
            self._set_deadline(RESPONSE_TIMEOUT)

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not an HTTP request."""
        _log.warning("admin_connection_refused", reason="bad_request")
        super().send_400_response(msg)

    def refuse(self, reason: str, **fields: str) -> None:
        """Close the connection at once, and log why."""
        _log.warning("admin_connection_refused", reason=reason, **fields)
        self.transport.abort()

    @property
    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _set_deadline(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._on_deadline)

    def _on_deadline(self) -> None:
        if self._is_idle:
            self.transport.abort()  # not logged: keeping a connection open is not a fault
        else:
            self.refuse("too_slow")


def http_config(application: ASGIApp, *, connection: type[Connection], longest_head: int) -> uvicorn.Config:
    """Return the configuration of a listener with connections of this class.

    ``longest_head``: bytes of a request's line and headers.
    """
    return uvicorn.Config(
        application,
        # uvicorn calls this for each connection; its type asks for a class, a function will do.
        http=cast("type[asyncio.Protocol]", partial(connection, open_connections=OpenConnections())),
        ws="none",
        lifespan="off",
        loop="asyncio",
        interface="asgi3",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=longest_head,
        timeout_graceful_shutdown=1,
    )


def listen_tcp(address: str) -> socket.socket:
    """Listen at HOST:PORT, port 0 for a free one; raises ``OSError``."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
