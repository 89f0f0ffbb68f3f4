"""Builds the transports of the listeners from the settings. Apart from ``factories``: this needs gRPC."""

from collections.abc import Sequence

from extproc.app.factories import build_certificates
from extproc.config import Settings
from extproc.config.listen import stays_local
from extproc.grpc_server.sockets import SocketRights
from extproc.grpc_server.transport import Limits, Transport

_HEADROOM = 1024 * 1024  # bytes of a message around the largest body
_ADMIN_MESSAGE = 1024 * 1024  # bytes; claims and a request to explain
_ADMIN_STREAMS = 64


def build_transport(settings: Settings, *, addresses: Sequence[str], share_port: bool = False) -> Transport:
    """Return the transport for some addresses of ``listen.grpc``; ``share_port``: with other processes.

    Raises:
        CertificateError: the files of ``listen.tls`` cannot be used.
    """
    listen = settings.listen
    return Transport(
        addresses=addresses,
        limits=Limits(message_bytes=settings.limits.request_body_bytes + _HEADROOM),
        certificates=build_certificates(listen.tls) if listen.tls else None,
        allowed_clients=listen.tls.allowed_clients if listen.tls else (),
        sockets=SocketRights(mode=int(listen.socket_mode, 8), owner=listen.socket_owner),
        share_port=share_port,
    )


def build_admin_transport(settings: Settings) -> Transport | None:
    """Return the transport of ``listen.admin_grpc``; None if it is not set.

    On this machine it is clear text, and a Unix socket is for its owner only. Beyond it is mTLS, for the
    clients in ``listen.admin_clients`` only.

    Raises:
        CertificateError: the files of ``listen.tls`` cannot be used.
    """
    listen = settings.listen
    if listen.admin_grpc is None:
        return None
    local = stays_local(listen.admin_grpc)
    return Transport(
        addresses=[listen.admin_grpc],
        limits=Limits(message_bytes=_ADMIN_MESSAGE, streams=_ADMIN_STREAMS),
        certificates=build_certificates(listen.tls) if listen.tls and not local else None,
        allowed_clients=listen.admin_clients,
        sockets=SocketRights(mode=0o600),
        setting="listen.admin_grpc",
    )
