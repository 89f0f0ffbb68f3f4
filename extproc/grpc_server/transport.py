"""The transport of a gRPC listener: addresses, limits, TLS, allowed clients. The same for every engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from extproc.grpc_server import clients
from extproc.grpc_server.certificates import CertificateFiles, Certificates
from extproc.grpc_server.clients import AllowedClients, AuthContext
from extproc.grpc_server.sockets import SocketRights, bind_socket

_log = structlog.get_logger(__name__)

AddPort = Callable[[str, grpc.ServerCredentials], int]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one connection. Times are in seconds.

    ``streams``: at a time on one connection; further ones wait at the client. Equal to the requests
    that the rendered Envoy configuration lets be under way, so that none ever waits: at the limit gRPC
    may turn away a stream that comes while it has not quite forgotten another.
    ``metadata_bytes``: a stream's own metadata; the headers of requests travel in messages.
    ``connection_age``: after it a client is asked to connect anew, and proves itself anew.
    """

    message_bytes: int
    metadata_bytes: int = 16 * 1024
    streams: int = 16_384
    handshake: float = 10.0
    ping_after: float = 60.0
    ping_timeout: float = 20.0
    pings_apart: float = 5.0
    connection_age: float = 3600.0


class Transport:
    """The addresses of a listener, and who may connect to them and how.

    Args:
        certificates: None for clear text. With a client CA, only clients with its certificates connect.
        allowed_clients: names that ``admits`` accepts; empty accepts all.
        share_port: let several processes listen on one TCP port.
        setting: the name of the setting in errors.
    """

    def __init__(
        self,
        *,
        addresses: Sequence[str],
        limits: Limits,
        certificates: CertificateFiles | None = None,
        allowed_clients: Sequence[str] = (),
        sockets: SocketRights | None = None,
        share_port: bool = False,
        setting: str = "listen.grpc",
    ) -> None:
        self.addresses = tuple(addresses)
        self._setting = setting
        self.certificates = certificates
        self._allowed = AllowedClients(allowed_clients) if allowed_clients else None
        self._sockets = sockets or SocketRights()
        self.options = _options(limits, share_port=share_port, secure=certificates is not None)

    def bind(self, add_port: AddPort) -> list[int]:
        """Add every address to a server that is not started yet; returns the ports.

        ``add_port`` gets address and credentials, also for clear text.

        Raises:
            OSError: cannot listen at an address; the message says at which, and why.
        """
        return [self._bind(address, add_port) for address in self.addresses]

    def admits(self, peer: Callable[[], AuthContext]) -> bool:
        """Return whether a client may request signatures. ``peer`` is only called if there is a list."""
        if self._allowed is None:
            return True
        names = peer()
        if self._allowed.admit(names):
            return True
        _log.warning("client_refused", names=clients.names(names))
        return False

    def _bind(self, address: str, add_port: AddPort) -> int:
        credentials = self._credentials()

        def bind() -> int:
            try:
                return add_port(address, credentials)
            except RuntimeError:
                raise OSError("cannot listen there; does another process?") from None

        try:
            if address.startswith("unix:"):
                return bind_socket(Path(address.removeprefix("unix:")), self._sockets, bind)
            return bind()
        except OSError as error:
            raise OSError(f"{self._setting} {address}: {error}") from None

    def _credentials(self) -> grpc.ServerCredentials:
        """Return credentials for one address; each keeps the certificates that it last passed to gRPC."""
        files = self.certificates
        if files is None:
            return grpc.insecure_server_credentials()
        served = files.current()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            """Return new certificates, or None. Called before each handshake, for new connections only."""
            nonlocal served
            now = files.current()
            if now is served:
                return None
            served = now
            return _configuration(now)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(served), changed, require_client_authentication=served.client_ca is not None
        )


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(certificates.private_key, certificates.chain)], certificates.client_ca
    )


def _options(limits: Limits, *, share_port: bool, secure: bool) -> tuple[tuple[str, int], ...]:
    """https://grpc.github.io/grpc/core/group__grpc__arg__keys.html; set even where it is the default."""
    options = [
        ("grpc.max_receive_message_length", limits.message_bytes),
        # Two limits, between which gRPC would refuse at random.
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.max_concurrent_streams", limits.streams),
        # A burst of new streams must not be refused.
        ("grpc.server.max_pending_requests", limits.streams),
        ("grpc.server.max_pending_requests_hard_limit", limits.streams),
        ("grpc.server_handshake_timeout_ms", _ms(limits.handshake)),
        # A peer that has silently gone must not hold its streams.
        ("grpc.keepalive_time_ms", _ms(limits.ping_after)),
        ("grpc.keepalive_timeout_ms", _ms(limits.ping_timeout)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Clients that ping as well: faster than this, three times, and their connection ends.
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(limits.pings_apart)),
        # By default a second server on the same port would silently share it.
        ("grpc.so_reuseport", int(share_port)),
    ]
    if secure:
        # Streams under way go on; without an end to connections, a revoked CA would stay trusted on them.
        options.append(("grpc.max_connection_age_ms", _ms(limits.connection_age)))
    return tuple(options)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
