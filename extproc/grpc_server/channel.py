"""Channels to a gRPC listener, for ``extproc health`` and ``extproc admin``."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from extproc.grpc_server.certificates import CertificateError, CertificateFiles

_MAX_ANSWER = 64 * 1024 * 1024  # bytes: a page of sessions, decisions, or all metrics
_ANY = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - looked for, not listened at


@dataclass(frozen=True, slots=True)
class ClientTls:
    """PEM files of a client.

    Attributes:
        ca: the trusted certificates.
        certificate: the client's own, with ``private_key``.
        name: the server's name, if it is not the host of the address.
    """

    ca: Path
    certificate: Path | None = None
    private_key: Path | None = None
    name: str | None = None


def reachable(address: str) -> str:
    """Return the address at which to reach a listener; loopback for one on all interfaces."""
    host, _, port = address.rpartition(":")
    return f"{_ANY[host]}:{port}" if host in _ANY else address


def connect(address: str, tls: ClientTls | None = None) -> grpc.Channel:
    """Return a channel to ``HOST:PORT`` or ``unix:/path``, in clear text without ``tls``. No proxy is used.

    Raises:
        CertificateError: a file cannot be read.
    """
    target = reachable(address)
    options: list[tuple[str, int | str]] = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", _MAX_ANSWER),
    ]
    if tls is None:
        return grpc.insecure_channel(target, options=options)
    if tls.name is not None:
        options.append(("grpc.ssl_target_name_override", tls.name))
    credentials = grpc.ssl_channel_credentials(_read(tls.ca), _read(tls.private_key), _read(tls.certificate))
    return grpc.secure_channel(target, credentials, options=options)


def tls_to_own_server(certificate: Path, private_key: Path, client_ca: Path | None) -> ClientTls:
    """Return TLS for a probe on the server's machine, which trusts exactly the server's certificate.

    Where clients need a certificate, the probe shows the server's own. That is refused if the client CA
    is another one than the server's, or if the certificate is not for clients.

    Raises:
        CertificateError: the files cannot be used.
    """
    files = CertificateFiles(certificate=certificate, private_key=private_key, client_ca=client_ca)
    names = files.current().names
    if not names:
        raise CertificateError(f"{certificate}: no DNS name or IP address to check it by")
    ours = (certificate, private_key) if client_ca else (None, None)
    return ClientTls(
        ca=certificate, certificate=ours[0], private_key=ours[1], name=names[0].removeprefix("*.")
    )


def _read(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from None
