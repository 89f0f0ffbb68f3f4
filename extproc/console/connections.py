"""Connections to the console: limited in number and in time, and quiet in the log.

uvicorn limits only the time between two requests. Here each phase of a connection has a deadline that no
further byte extends, and when there are too many connections the oldest one is closed (``admin.patience``).
"""

import asyncio
import logging
from functools import partial
from typing import Any, cast

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from extproc.admin import patience
from extproc.admin.patience import Deadline, OpenConnections

_log = structlog.get_logger(__name__)
# uvicorn logs a line for each bad request, so an attacker could fill the log. Our own lines are limited.
_no_log = logging.getLogger(f"{__name__}.uvicorn")
_no_log.disabled = True


class Connection(H11Protocol):
    """One client's connection, HTTP/1.1 with keep-alive."""

    def __init__(self, *, open_connections: OpenConnections["Connection"], **options: Any) -> None:
        super().__init__(**options)
        self.logger = _no_log
        self.timeout_keep_alive = round(2 * patience.IDLE_TIMEOUT)  # our own timer fires first
        self._open_connections = open_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._open_connections.add(self)
        self._deadline = Deadline(self.transport, self.refuse)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection and its timer."""
        self._open_connections.discard(self)
        self._deadline.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        self._deadline.hear()
        was_responding = self._is_responding
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - uvicorn does not catch all of h11's errors
            self.refuse("bad_request", error=type(error).__name__)
            return
        if self._is_responding and not was_responding:
            self._deadline.respond()

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it has come already."""
        self._deadline.rest()
        super().on_response_complete()
        if self._is_responding:
            self._deadline.respond()

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


def http_config(application: ASGIApp, *, connection: type[Connection], longest_head: int) -> uvicorn.Config:
    """Return the configuration of a listener with connections of this class.

    ``longest_head``: bytes of a request's line and headers.
    """
    open_connections: OpenConnections[Connection] = OpenConnections(patience.MAX_CONNECTIONS)
    return uvicorn.Config(
        application,
        # uvicorn calls this for each connection; its type asks for a class, a function will do.
        http=cast(
            "type[asyncio.Protocol]",
            partial(connection, open_connections=open_connections),
        ),
        ws="none",
        lifespan="off",
        loop="asyncio",
        interface="asgi3",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=patience.BACKLOG,
        h11_max_incomplete_event_size=longest_head,
        timeout_graceful_shutdown=1,
    )
