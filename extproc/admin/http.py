"""The admin HTTP listener: ``/metrics``, ``/healthz`` (alive), ``/readyz`` (ready, or why not)."""

import asyncio
import gzip
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from extproc.admin.connections import Connection, http_config, listen_tcp

_MAX_COLLECTIONS = 2  # of metrics at a time; those of a supervisor wait for its workers
_MAX_HEAD = 16 * 1024  # bytes of a request's line and headers

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
        self._server = uvicorn.Server(http_config(self._serve, connection=Connection, longest_head=_MAX_HEAD))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="admin", daemon=True
        )

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the socket."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self._collectors.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except Exception as error:  # noqa: BLE001 - log the type only: the message may quote a secret
            _log.error("admin_request_failed", error=type(error).__name__)
            response = _text(500, ["internal error, see the log"])
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = request.url.path
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
            return Response(headers={"allow": "OPTIONS,GET"})
        if request.method not in ("GET", "HEAD"):
            return Response(
                f"# HTTP 405 Method Not Allowed: {request.method}; use OPTIONS or GET\n",
                status_code=405,
                headers={"allow": "OPTIONS,GET"},
            )
        encode, content_type = _encoder(request.headers.get("accept", ""))
        names = request.query_params.getlist("name[]")
        registry: Any = self._registry.restricted_registry(names) if names else self._registry
        loop = asyncio.get_running_loop()
        body = await loop.run_in_executor(self._collectors, encode, registry)
        headers = {"content-type": content_type}
        if "gzip" in request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, compresslevel=1)
            headers["content-encoding"] = "gzip"
        return Response(body, headers=headers)


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accept)
    except Exception:  # noqa: BLE001 - it raises for invalid versions; a preference must not fail the request
        return choose_encoder("")


def _text(status: int, lines: list[str]) -> Response:
    return PlainTextResponse("".join(f"{line}\n" for line in lines), status_code=status)
