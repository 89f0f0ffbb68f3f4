"""The console's listener: loopback, HTTPS or a Unix socket; limits as those of the admin listener."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from extproc.admin.patience import BACKLOG, listen_tcp
from extproc.config import Settings, Tls
from extproc.console.connections import Connection, http_config
from extproc.grpc_server.certificates import CertificateFiles
from extproc.grpc_server.sockets import SocketRights, bind_socket

_MAX_HEAD = 32 * 1024  # bytes of a request's line and headers
_LOOK_EVERY = 10.0  # seconds between two looks at the files of the certificate


class NamedConnection(Connection):
    """A connection whose requests know the names in the client's certificate."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read the names, which TLS has verified."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert() if tls is not None else None
        if certificate:
            names = certificate.get("subjectAltName", ())
            peer = {
                kind: tuple(name.encode() for found, name in names if found == label)
                for kind, label in (("peer_uri", "URI"), ("peer_dns", "DNS"))
            }
            self.app_state = {**self.app_state, "peer_names": peer}


class Listener:
    """Serves an application at ``listen.console``, as a context.

    Args:
        on_new_authority: called when the file of ``console.tls.client_ca`` has changed: OpenSSL can add an
            authority to a listener, and not remove one, so the process must begin anew.

    Raises:
        OSError: cannot listen there; the message names the setting and the address.
        CertificateError: the files of ``console.tls`` cannot be used.
    """

    def __init__(
        self, settings: Settings, application: ASGIApp, *, on_new_authority: Callable[[], None]
    ) -> None:
        self._on_new_authority = on_new_authority
        address, tls = settings.listen.console or "", settings.console.tls
        self._socket = _listen(address)
        self._path = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
        config = http_config(application, connection=NamedConnection, longest_head=_MAX_HEAD)
        config.load()
        self._files = _certificates(tls) if tls else None
        if self._files is not None:
            config.ssl = _context(self._files, optional=settings.console.oidc is not None)
        self._context = config.ssl
        self._server = uvicorn.Server(config)
        # The process has handlers of its own.
        self._server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]

    @property
    def port(self) -> int:
        """Return the TCP port; 0 for a Unix socket."""
        return 0 if self._path else int(self._socket.getsockname()[1])

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve until the end of the context."""
        work = [asyncio.create_task(self._server.serve(sockets=[self._socket]))]
        if self._files is not None and self._context is not None:
            work.append(asyncio.create_task(_follow(self._files, self._context, self._on_new_authority)))
        try:
            yield
        finally:
            self._server.should_exit = True
            for task in work[1:]:
                task.cancel()
            await work[0]
            self._socket.close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)


def _listen(address: str) -> socket.socket:
    try:
        if not address.startswith("unix:"):
            return listen_tcp(address)
        listening = socket.socket(socket.AF_UNIX)
        path = Path(address.removeprefix("unix:"))

        def bind() -> int:
            path.unlink(missing_ok=True)  # bind_socket has found that no process listens there
            listening.bind(str(path))
            listening.listen(BACKLOG)
            return 1

        bind_socket(path, SocketRights(mode=0o600), bind)
    except OSError as error:
        raise OSError(f"listen.console {address}: {error.strerror or error}") from None
    return listening


def _certificates(tls: Tls) -> CertificateFiles:
    return CertificateFiles(
        certificate=Path(tls.certificate),
        private_key=Path(tls.private_key),
        client_ca=Path(tls.client_ca) if tls.client_ca else None,
    )


def _context(files: CertificateFiles, *, optional: bool) -> ssl.SSLContext:
    """Return the TLS of the listener. ``optional``: clients may also log in without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _load(context, files)
    if files.current().client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL if optional else ssl.CERT_REQUIRED
    return context


def _load(context: ssl.SSLContext, files: CertificateFiles) -> None:
    """Have new connections use the files as they are now."""
    certificate, private_key, *client_ca = files.paths
    context.load_cert_chain(certificate, private_key, password="")
    for path in client_ca:
        context.load_verify_locations(path)


async def _follow(
    files: CertificateFiles, context: ssl.SSLContext, on_new_authority: Callable[[], None]
) -> None:
    """Use changed files for new connections, until cancelled. Broken ones keep the last good ones."""
    used = files.current()
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        current = await asyncio.to_thread(files.current)
        if current.client_ca != used.client_ca:
            on_new_authority()
        if current is not used:
            used = current
            with contextlib.suppress(OSError):  # they change right now: the next look finds them whole
                _load(context, files)
