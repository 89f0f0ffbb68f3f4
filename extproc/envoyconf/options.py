"""What the operator chooses about Envoy, beside extproc's own settings."""

from dataclasses import dataclass
from typing import Literal

from extproc.config import grpc_address, host_port

Placement = Literal["http", "upstream"]


class OptionsError(ValueError):
    """The options do not fit together, or do not fit the settings."""


@dataclass(frozen=True, slots=True)
class EnvoyOptions:
    """Where Envoy listens and finds things, and which chain our filter is in.

    ``placement``: ``http`` puts the filter before routing's rewrites, in the listener;
    ``upstream`` in each target's cluster, after them. ``extproc_address``: where Envoy finds
    us, if not at ``listen.grpc``. ``ca_file``: the CA bundle on Envoy's machine.
    ``jwt_authn``: let Envoy verify tokens of all issuers whose keys it can find, not only of
    those that are configured so. ``tls_cert`` and ``tls_key``: files there, for TLS towards clients.
    ``extproc_ca``, ``extproc_cert`` and ``extproc_key``: files there, for TLS towards us; the CA is
    ``ca_file`` if there is none for this. ``extproc_name``: what our certificate is for, if not for
    the host of our address.
    """

    listen: str = "127.0.0.1:10000"
    extproc_address: str | None = None
    admin: str = "127.0.0.1:9901"
    ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    placement: Placement = "http"
    jwt_authn: bool = False
    tls_cert: str | None = None
    tls_key: str | None = None
    extproc_ca: str | None = None
    extproc_cert: str | None = None
    extproc_key: str | None = None
    extproc_name: str | None = None

    def __post_init__(self) -> None:
        for certificate, key in ((self.tls_cert, self.tls_key), (self.extproc_cert, self.extproc_key)):
            if (certificate is None) != (key is None):
                raise OptionsError("a certificate and its key belong together")
        for name, check, address in (
            ("--listen", host_port, self.listen),
            ("--admin", host_port, self.admin),
            ("--extproc", grpc_address, self.extproc_address),
        ):
            try:
                if address is not None:
                    check(address)
            except ValueError as error:
                raise OptionsError(f"{name} {address}: {error}") from None
