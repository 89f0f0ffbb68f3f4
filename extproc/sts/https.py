"""HTTP requests with an absolute deadline, whatever the server sends.

A socket's timeout limits one operation only: a server that sends a byte now and then would hold a thread
forever. So each operation gets the time that is left until one deadline: name resolution, connecting, the
TLS handshake, each write and each read. (For TLS sockets Python limits the whole operation, however many
packets it takes.) The number of received bytes is limited too, including the head.

A connection is reused only after an answer that ended exactly where it said. Bytes after it would be read
as the answer to the next request, which may be another user's.
"""

import contextlib
import http.client
import io
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

MAX_BODY_BYTES = 256 * 1024
_MAX_BYTES = MAX_BODY_BYTES + 64 * 1024  # with the head and the framing
_MAX_IDLE_SECONDS = 30.0  # of a kept connection: later, a machine on the way may have dropped it
_SLOW_LOOKUP = 1.0  # seconds after which another lookup of a name is started
_MAX_LOOKUPS = 8  # lookups of one host at a time

AddressInfo = tuple[Any, ...]
"""One result of ``socket.getaddrinfo``."""

Resolve = Callable[..., list[AddressInfo]]
"""``socket.getaddrinfo``, or a function like it."""


class HttpError(Exception):
    """A request without a usable answer; the message, for operators, quotes nothing that was received."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete answer."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


class HttpOrigin:
    """Sends requests to one scheme, host and port. Thread-safe. Follows no redirects, uses no proxy.

    Idle connections are in a deque, whose ``append`` and ``pop`` are atomic, so they need no lock.

    Args:
        max_idle: number of connections kept open between requests.
        tls: makes the TLS context, in the thread of the first request over https.
    """

    def __init__(
        self,
        url: str,
        *,
        max_idle: int,
        tls: Callable[[], ssl.SSLContext],
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._make_tls = tls
        self._max_idle = max_idle
        self._idle: deque[tuple[float, http.client.HTTPConnection, _Socket]] = deque()
        self._resolver = _Resolver(self._host, self._port, resolve)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._make_tls()

    def post(self, target: str, headers: Mapping[str, str], body: bytes, *, until: float) -> HttpAnswer:
        """Send a POST request and return its answer by ``until`` (``time.monotonic`` seconds).

        Raises:
            HttpError: too late, too large, compressed, cut short, not HTTP, or no connection.
        """
        return self._request("POST", target, headers, body, until)

    def get(self, target: str, headers: Mapping[str, str], *, until: float) -> HttpAnswer:
        """Send a GET request, as ``post`` does."""
        return self._request("GET", target, headers, None, until)

    def _request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None, until: float
    ) -> HttpAnswer:
        try:
            connection, connected = self._take() or self._connect(until)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise HttpError(_describe(error)) from None
        connected.limit(until=until, bytes_=_MAX_BYTES)
        reusable = False
        try:
            connection.request(method, target, body=body, headers=dict(headers))
            with connection.getresponse() as response:
                answer = _read(response)
                reusable = not response.will_close
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._close_idle()  # they may be broken as well
            raise HttpError(_describe(error)) from None
        finally:
            if reusable and not connected.has_more and len(self._idle) < self._max_idle:
                self._idle.append((time.monotonic(), connection, connected))
            else:
                connected.end()
        return answer

    def _take(self) -> "tuple[http.client.HTTPConnection, _Socket] | None":
        while self._idle:
            try:
                since, connection, connected = self._idle.pop()
            except IndexError:  # pragma: no cover - another thread was faster
                return None
            if time.monotonic() - since < _MAX_IDLE_SECONDS and connected.is_quiet():
                return connection, connected
            connected.end()
        return None

    def _connect(self, until: float) -> "tuple[http.client.HTTPConnection, _Socket]":
        addresses = self._resolver.addresses(until)
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            plain = socket.socket(family, kind, protocol)
            try:
                # Divides the time among the remaining addresses: one may not answer.
                plain.settimeout(_remaining(until) / (len(addresses) - position))
                plain.connect(address)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._secured(plain, until)
            except BaseException as error:
                plain.close()
                if not isinstance(error, OSError) or position + 1 == len(addresses):
                    raise
        raise OSError("no address")

    def _secured(self, plain: socket.socket, until: float) -> "tuple[http.client.HTTPConnection, _Socket]":
        if not self._secure:
            connected, connection = _Socket(plain), http.client.HTTPConnection(self._host, self._port)
        else:
            plain.settimeout(_remaining(until))
            connected = _Socket(self._tls.wrap_socket(plain, server_hostname=self._host))
            connection = http.client.HTTPSConnection(self._host, self._port, context=self._tls)
        connection.sock = connected
        return connection, connected

    def _close_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop()[2].end()

    def close(self) -> None:
        """Close idle connections."""
        self._close_idle()


def _read(response: http.client.HTTPResponse) -> HttpAnswer:
    if response.status < http.client.OK:
        raise _UnusableError("the answer is not final")
    if response.getheader("content-encoding", "identity").lower() != "identity":
        raise _UnusableError("the answer is compressed")  # a few bytes could expand to gigabytes
    body = response.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise _UnusableError("the answer is too large")
    if response.length:  # read(n) returns fewer bytes if the server hangs up
        raise _UnusableError("the answer is cut short")
    return HttpAnswer(response.status, tuple(response.getheaders()), body)


class _UnusableError(OSError):
    """An answer that is not accepted; the message is a constant."""


def _describe(error: Exception) -> str:
    """Return what went wrong, for operators. Never the message: it may quote what was received."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, _UnusableError):
        return str(error)
    return type(error).__name__


def _remaining(until: float) -> float:
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


class _Socket:
    """The part of a socket that ``http.client`` uses, with a deadline and a limit of received bytes."""

    def __init__(self, connected: socket.socket) -> None:
        self._connected = connected
        self._until = 0.0
        self._bytes = 0
        self.has_more = False
        """Whether bytes followed the end of the answer."""

    def limit(self, *, until: float, bytes_: int) -> None:
        """Set the deadline, and the number of bytes that may be received until then."""
        self._until, self._bytes = until, bytes_

    def sendall(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            self._connected.settimeout(_remaining(self._until))
            rest = rest[self._connected.send(rest) :]

    def recv_into(self, buffer: Any) -> int:
        if self._bytes <= 0:
            raise _UnusableError("the answer is too large")
        self._connected.settimeout(_remaining(self._until))
        received = self._connected.recv_into(buffer)
        self._bytes -= received
        return received

    def makefile(self, _mode: str) -> io.BufferedReader:
        return _Reader(_Raw(self))

    def is_quiet(self) -> bool:
        """Return whether the idle connection is open and no unexpected bytes arrived."""
        try:
            poll = select.poll()
            poll.register(self._connected, select.POLLIN)
            return not poll.poll(0)
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """Do nothing: ``http.client`` closes a last connection before its answer is read."""

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._connected.close()


class _Raw(io.RawIOBase):
    def __init__(self, connected: _Socket) -> None:
        self.connected = connected
        self.sealed = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return 0 if self.sealed else self.connected.recv_into(buffer)


class _Reader(io.BufferedReader):
    """Sets ``has_more`` of the connection if bytes were received after the answer that was read."""

    raw: _Raw

    def close(self) -> None:
        if not self.closed:
            self.raw.sealed = True  # peek() must not receive more
            with contextlib.suppress(ValueError, OSError):
                self.raw.connected.has_more = bool(self.peek(1))
        super().close()


class _Resolver:
    """Resolves one host's name. ``getaddrinfo`` cannot be cancelled, so each lookup has a thread of its own.

    Concurrent calls wait for the same lookup, unless it is slow. Then another one is started, up to
    ``_MAX_LOOKUPS``: when name servers recover, calls need not wait for a lookup that began before.

    ``_lock`` guards the attributes below it. It is never held during a lookup.
    """

    def __init__(self, host: str, port: int, resolve: Resolve) -> None:
        self._host = host
        self._port = port
        self._resolve = resolve
        self._lock = threading.Lock()
        self._latest: Future[list[AddressInfo]] | None = None
        self._began = 0.0
        self._under_way = 0

    def addresses(self, until: float) -> list[AddressInfo]:
        """Return the addresses; raise ``OSError`` without one, ``TimeoutError`` after ``until``."""
        return self._lookup().result(timeout=_remaining(until))

    def _lookup(self) -> "Future[list[AddressInfo]]":
        with self._lock:
            now = time.monotonic()
            latest = self._latest
            slow = now - self._began > _SLOW_LOOKUP and self._under_way < _MAX_LOOKUPS
            if latest is None or latest.done() or slow:
                latest = self._latest = Future()
                self._began = now
                self._under_way += 1
                threading.Thread(target=self._run, args=(latest,), name="sts-name", daemon=True).start()
            return latest

    def _run(self, lookup: "Future[list[AddressInfo]]") -> None:
        try:
            found = self._resolve(self._host, self._port, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - UnicodeError for strange names, OSError for all else
            lookup.set_exception(error)
        else:
            lookup.set_result(list(found))
        finally:
            with self._lock:
                self._under_way -= 1
