"""What the settings say about listening, as transports. Apart from the rooms: this needs gRPC."""

from extproc.app.rooms import build_certificates
from extproc.config import Settings
from extproc.server.sockets import SocketRights
from extproc.server.transport import Limits, Transport

_HEADROOM = 1024 * 1024  # bytes of a message around the largest body


def build_transport(settings: Settings, *, share_port: bool = False) -> Transport:
    """The transport of ``listen.grpc``. ``share_port``: several processes listen on the same one.

    Raises:
        CertificateError: the files of ``listen.tls`` cannot be used.
    """
    listen = settings.listen
    return Transport(
        addresses=[listen.grpc],
        limits=Limits(message_bytes=settings.limits.request_body_bytes + _HEADROOM),
        certificates=build_certificates(listen.tls) if listen.tls else None,
        allowed_clients=listen.tls.allowed_clients if listen.tls else (),
        sockets=SocketRights(mode=int(listen.socket_mode, 8), owner=listen.socket_owner),
        share_port=share_port,
    )
