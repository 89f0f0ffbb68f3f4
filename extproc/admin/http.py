"""The admin HTTP listener: ``/metrics``, ``/healthz`` (alive), ``/readyz`` (ready, or why not)."""

import asyncio
import contextlib
import gzip
import threading
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from extproc.admin import http1
from extproc.admin.http1 import Request, Response
from extproc.admin.patience import listen_tcp

_MAX_COLLECTIONS = 2  # of metrics at a time; those of a supervisor wait for its workers

_log = structlog.get_logger(__name__)


class AdminServer:
    """Serves in a thread and an event loop of its own, from ``start`` to ``stop``.

    Args:
        address: HOST:PORT to listen at; port 0 for a free one.
        registry: the metrics; collected in threads of the listener, at most two at a time.
        unready: returns why this instance should get no traffic; an empty list if it should.
        degraded: returns what is wrong although it is ready.
        setting: what names the address, for the message.

    Raises:
        OSError: cannot listen there; the message names the setting and the address.
    """

    def __init__(
        self,
        address: str,
        *,
        registry: CollectorRegistry,
        unready: Callable[[], list[str]],
        degraded: Callable[[], list[str]] = list,
        setting: str = "listen.admin",
    ) -> None:
        self._registry = registry
        self._unready = unready
        self._degraded = degraded
        try:
            self._socket = listen_tcp(address)
        except OSError as error:
            raise OSError(f"{setting} {address}: {error.strerror}") from None
        self.port: int = self._socket.getsockname()[1]
        self._collectors = ThreadPoolExecutor(_MAX_COLLECTIONS, thread_name_prefix="admin-metrics")
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="admin", daemon=True)
        self._began = threading.Event()

    def start(self) -> None:
        """Start serving."""
        self._thread.start()
        self._began.wait()

    def stop(self) -> None:
        """Stop serving and close the socket."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        self._socket.close()
        self._collectors.shutdown(wait=False, cancel_futures=True)

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with http1.serving(self._socket, self._respond_safely):
                self._began.set()
                await self._stopped.wait()
        finally:
            self._began.set()  # whatever happens, nobody waits for it for ever

    async def _respond_safely(self, request: Request) -> Response:
        try:
            return await self._respond(request)
        except Exception as error:  # noqa: BLE001 - log the type only: the message may quote a secret
            _log.error("admin_request_failed", error=type(error).__name__)
            return _text(500, ["internal error, see the log"])

    async def _respond(self, request: Request) -> Response:
        path = request.path
        if path == "/metrics":
            return await self._metrics(request)
        if path == "/healthz":
            return _text(200, ["ok"])
        if path == "/readyz":
            reasons = self._unready()
            if reasons:
                return _text(503, reasons)
            return _text(200, ["ok", *(f"degraded: {it}" for it in self._degraded())])
        return _text(404, ["/metrics /healthz /readyz"])

    async def _metrics(self, request: Request) -> Response:
        """Answer as prometheus_client's own applications do."""
        if request.method == "OPTIONS":
            return Response(200, headers=(("allow", "OPTIONS,GET"),))
        if request.method not in ("GET", "HEAD"):
            message = f"# HTTP 405 Method Not Allowed: {request.method}; use OPTIONS or GET\n"
            return Response(405, message.encode(), (("allow", "OPTIONS,GET"),))
        encode, content_type = _encoder(request.headers.get("accept", ""))
        names = urllib.parse.parse_qs(request.query, keep_blank_values=True).get("name[]")
        registry: Any = self._registry.restricted_registry(names) if names else self._registry
        body = await self._loop.run_in_executor(self._collectors, encode, registry)
        headers = [("content-type", content_type)]
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, compresslevel=1)
            headers.append(("content-encoding", "gzip"))
        return Response(200, body, tuple(headers))


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accept)
    except Exception:  # noqa: BLE001 - it raises for invalid versions; a preference must not fail the request
        return choose_encoder("")


def _text(status: int, lines: list[str]) -> Response:
    body = "".join(f"{line}\n" for line in lines).encode()
    return Response(status, body, (("content-type", "text/plain; charset=utf-8"),))
