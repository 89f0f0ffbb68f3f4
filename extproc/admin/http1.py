"""An HTTP/1.1 server for short answers, over h11: bounded connections, and quiet in the log.

Each phase of a connection has a deadline that no further byte extends (``patience``). Bodies of requests are
read and thrown away. A server of general use would take 6 MB and a tenth of a second to import.
"""

import asyncio
import contextlib
import email.utils
import http
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, cast

import h11
import structlog

from extproc.admin import patience
from extproc.admin.patience import Deadline, OpenConnections

_MAX_HEAD = 16 * 1024  # bytes of a request's line and headers

_log = structlog.get_logger(__name__)


class Request(NamedTuple):
    """A request; names of headers in lower case, of several with one name the first."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


class Response(NamedTuple):
    """A response."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


Respond = Callable[[Request], Awaitable[Response]]
"""Makes the response; must not raise."""


class Connection(asyncio.Protocol):
    """One client's connection, with keep-alive and one request at a time.

    Attributes:
        responding: the task of the response under way, if there is one.
    """

    def __init__(self, respond: Respond, open_connections: OpenConnections["Connection"]) -> None:
        self._respond = respond
        self._open_connections = open_connections
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, _MAX_HEAD)
        self._request: h11.Request | None = None
        self.responding: asyncio.Task[None] | None = None
        self._is_last = False
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client."""
        self._transport = cast("asyncio.Transport", transport)
        self._open_connections.add(self)
        self._deadline = Deadline(self._transport, self.refuse)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        """Remove the connection and its timer; give up a response."""
        self._open_connections.discard(self)
        self._deadline.end()
        if self.responding is not None:
            self.responding.cancel()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Write on."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        self._deadline.hear()
        try:
            self._http.receive_data(data)
            self._read()
        except Exception as error:  # noqa: BLE001 - h11 has errors of its own, and others
            self.refuse("bad_request", error=type(error).__name__)

    def refuse(self, reason: str, **fields: str) -> None:
        """Close the connection at once, and log why."""
        _log.warning("admin_connection_refused", reason=reason, **fields)
        self._transport.abort()

    def finish(self, *, at_once: bool = False) -> None:
        """Close the connection, after the response under way if there is one and it is not ``at_once``."""
        self._is_last = True
        if self.responding is None or at_once:
            self._transport.abort()

    def _read(self) -> None:
        """Read until a request is complete, or there is nothing to read."""
        while self.responding is None and not self._transport.is_closing():
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self._refuse_request()
                return
            if isinstance(event, h11.Request):
                self._request = event
            elif isinstance(event, h11.EndOfMessage):
                self._transport.pause_reading()  # requests sent ahead wait where they are
                self._deadline.respond()
                self.responding = self._loop.create_task(self._answer())
            elif not isinstance(event, h11.Data):
                return

    async def _answer(self) -> None:
        """Answer the request; wait until the client has read most of it."""
        assert self._request is not None  # noqa: S101 - its message has ended
        response = await self._respond(_request(self._request))
        self._send(response)
        await self._writable.wait()
        self.responding = None
        if self._is_last or self._http.our_state is not h11.DONE:
            self._transport.close()  # once all is written, before the deadline
            return
        self._http.start_next_cycle()
        if self._http.trailing_data[0]:
            self._deadline.expect_request()
        else:
            self._deadline.rest()
        self._transport.resume_reading()
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - as above
            self.refuse("bad_request", error=type(error).__name__)

    def _send(self, response: Response) -> None:
        headers = [
            ("date", email.utils.formatdate(usegmt=True)),
            ("content-length", str(len(response.body))),
            *response.headers,
        ]
        if self._is_last:
            headers.append(("connection", "close"))
        reason = http.HTTPStatus(response.status).phrase
        event = h11.Response(status_code=response.status, headers=headers, reason=reason)
        parts = [self._http.send(event)]
        if self._request is not None and self._request.method != b"HEAD":
            parts.append(self._http.send(h11.Data(data=response.body)))
        parts.append(self._http.send(h11.EndOfMessage()))
        self._transport.write(b"".join(part for part in parts if part))

    def _refuse_request(self) -> None:
        """Answer bytes that are not an HTTP request, and close."""
        _log.warning("admin_connection_refused", reason="bad_request")
        self._request, self._is_last = None, True
        self._send(Response(400, b"not an HTTP request\n", (("content-type", "text/plain"),)))
        self._transport.close()


def _request(event: h11.Request) -> Request:
    path, _, query = event.target.decode("ascii").partition("?")
    headers: dict[str, str] = {}
    for name, value in event.headers:
        headers.setdefault(name.decode("ascii"), value.decode("latin-1"))
    return Request(event.method.decode("ascii"), path, query, headers)


@contextlib.asynccontextmanager
async def serving(listening: socket.socket, respond: Respond, *, grace: float = 1.0) -> AsyncIterator[None]:
    """Serve at a socket; in the end let responses under way finish, for ``grace`` seconds."""
    connections: OpenConnections[Connection] = OpenConnections(patience.MAX_CONNECTIONS)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(respond, connections), sock=listening, backlog=patience.BACKLOG
    )
    try:
        yield
    finally:
        server.close()
        for connection in connections:
            connection.finish()
        under_way = [task for connection in connections if (task := connection.responding) is not None]
        if under_way:
            await asyncio.wait(under_way, timeout=grace)
        for connection in connections:
            connection.finish(at_once=True)
