"""The admin HTTP listener: ``/metrics``, ``/healthz`` (alive), ``/readyz`` (fit for traffic, or why not)."""

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    timeout = 10  # seconds; a probe that stalls must not keep a thread

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - inherited
        """Say nothing: probes come every few seconds."""


class AdminServer:
    """Serves in daemon threads, ``start`` to ``stop``. ``unready`` returns reasons, none when ready.

    ``degraded``: what is wrong although it is ready.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        unready: Callable[[], list[str]],
        degraded: Callable[[], list[str]] = list,
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._unready = unready
        self._degraded = degraded
        self._server = make_server(
            host, port, self._respond, server_class=_Server, handler_class=_QuietHandler
        )
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="admin", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _respond(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            response: Iterable[bytes] = self._metrics(environ, start_response)
            return response
        if path == "/healthz":
            return _text(start_response, "200 OK", ["ok"])
        if path == "/readyz":
            reasons = self._unready()
            if reasons:
                return _text(start_response, "503 Service Unavailable", reasons)
            return _text(start_response, "200 OK", ["ok", *(f"degraded: {it}" for it in self._degraded())])
        return _text(start_response, "404 Not Found", ["/metrics /healthz /readyz"])


def _text(start_response: Any, status: str, lines: list[str]) -> list[bytes]:
    # A list of headers of its own for each response: wsgiref adds to the one it is given.
    start_response(status, [("content-type", "text/plain; charset=utf-8")])
    return ["".join(f"{line}\n" for line in lines).encode()]
