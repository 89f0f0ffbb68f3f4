"""The listener's certificate, key and client CA: read from files, checked, read again on change."""

import ipaddress
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extproc.file_stamp import FileStamp, file_stamp

_log = structlog.get_logger(__name__)

_Stamp = tuple[FileStamp, ...]


class CertificateError(RuntimeError):
    """The files cannot be used. The message names the file and never quotes it."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """A certificate in PEM with its key. ``client_ca`` of None: clients need no certificate."""

    chain: bytes
    private_key: bytes = field(repr=False)
    client_ca: bytes | None
    begins_at: datetime
    expires_at: datetime
    names: tuple[str, ...]
    """The DNS names and IP addresses that the certificate is for."""


class CertificateFiles:
    """The certificates in the files, read again when the files change. Broken files keep the last good ones.

    It costs one ``stat`` a file, so it is asked at every handshake. Links are followed, so that the swap of a
    mounted directory (a Kubernetes Secret) is noticed. Expiry is not checked: clients do that.
    """

    def __init__(self, *, certificate: Path, private_key: Path, client_ca: Path | None = None) -> None:
        """Read the files; raises ``CertificateError``."""
        self._paths = (certificate, private_key, *((client_ca,) if client_ca else ()))
        self._lock = threading.Lock()  # handshakes run in several threads
        self._stamp = _stamp(self._paths)
        self._current = _read(self._paths)
        self.failure: str | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the files: certificate, private key and, if there is one, client CA."""
        return self._paths

    def current(self) -> Certificates:
        """Return the certificates: the same object until the files change. Never raises."""
        with self._lock:
            stamp = _stamp(self._paths)
            if stamp != self._stamp:
                # Taken before reading: a change meanwhile makes the next call read again.
                self._stamp = stamp
                self._reload()
            return self._current

    def valid_between(self) -> tuple[float, float]:
        """Return when the present certificate begins and ends to be valid, in Unix time."""
        current = self.current()
        return current.begins_at.timestamp(), current.expires_at.timestamp()

    def broken(self) -> bool:
        """Return whether the files cannot be used, so that earlier certificates are in use."""
        self.current()
        return self.failure is not None

    def _reload(self) -> None:
        try:
            self._current = _read(self._paths)
        except Exception as error:  # noqa: BLE001 - a handshake must not fail for what a file holds
            self.failure = str(error) if isinstance(error, CertificateError) else type(error).__name__
            _log.error("certificates_not_reloaded", problem=self.failure, kept_until=self._current.expires_at)
        else:
            self.failure = None
            _log.info(
                "certificates_reloaded", certificate=str(self._paths[0]), until=self._current.expires_at
            )


def _stamp(paths: Sequence[Path]) -> _Stamp:
    return tuple(file_stamp(path) for path in paths)


def _read(paths: Sequence[Path]) -> Certificates:
    chain, private_key, *rest = (_content(path) for path in paths)
    certificate = _certificates(chain, paths[0])[0]
    try:
        key = load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateError(f"{paths[1]}: no private key in PEM without a password") from None
    if key.public_key() != certificate.public_key():
        raise CertificateError(f"{paths[1]}: not the key of the certificate in {paths[0]}")
    if rest:
        _certificates(rest[0], paths[2])
    return Certificates(
        chain=chain,
        private_key=private_key,
        client_ca=rest[0] if rest else None,
        begins_at=certificate.not_valid_before_utc,
        expires_at=certificate.not_valid_after_utc,
        names=_names(certificate),
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from None


def _certificates(pem: bytes, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError(f"{path}: no certificate in PEM") from None


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [
        address
        for address in names.get_values_for_type(x509.IPAddress)
        if isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
    ]
    return (*names.get_values_for_type(x509.DNSName), *(str(address) for address in addresses))
