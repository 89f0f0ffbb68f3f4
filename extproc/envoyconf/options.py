"""The operator's options for Envoy, in addition to extproc's settings."""

from dataclasses import dataclass
from typing import Literal

from extproc.config import Settings, grpc_address, host_port

Placement = Literal["http", "upstream"]


class OptionsError(ValueError):
    """Options that contradict each other or the settings."""


@dataclass(frozen=True, slots=True)
class EnvoyOptions:
    """Addresses, files on Envoy's machine, and the position of the filter.

    Attributes:
        listen: address for clients.
        extproc_addresses: addresses of extproc; default: ``listen.grpc``.
        admin: address of Envoy's admin interface.
        ca_file: CA bundle.
        placement: ``http`` puts the filter into the listener, before the rewrites of routes;
            ``upstream`` into each target's cluster, after them.
        jwt_authn: whether Envoy verifies the tokens of all issuers whose keys it can find, not only of those
            that are configured so.
        tls_cert: certificate chain for TLS with clients.
        tls_key: the private key to ``tls_cert``.
        extproc_ca: CA for TLS with extproc; default: ``ca_file``.
        extproc_cert: Envoy's certificate chain for extproc.
        extproc_key: the private key to ``extproc_cert``.
        extproc_name: the name in extproc's certificate; default: the host of its address.
        affinity: whether requests with one token reach one instance; default: if there are several addresses.
        selector: the label of the gateway's pods, for Istio.
    """

    listen: str = "127.0.0.1:10000"
    extproc_addresses: tuple[str, ...] = ()
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
    affinity: bool | None = None
    selector: str = "istio=ingressgateway"

    def __post_init__(self) -> None:
        for certificate, key in ((self.tls_cert, self.tls_key), (self.extproc_cert, self.extproc_key)):
            if (certificate is None) != (key is None):
                raise OptionsError("a certificate and its key belong together")
        for name, check, address in (
            ("--listen", host_port, self.listen),
            ("--admin", host_port, self.admin),
            *(("--extproc", grpc_address, address) for address in self.extproc_addresses),
        ):
            try:
                check(address)
            except ValueError as error:
                raise OptionsError(f"{name} {address}: {error}") from None

    def addresses(self, settings: Settings) -> list[str]:
        """Return the addresses of extproc."""
        return list(self.extproc_addresses) or settings.listen.grpc_addresses

    def has_affinity(self, settings: Settings) -> bool:
        """Return whether Envoy chooses the instance by the token."""
        return len(self.addresses(settings)) > 1 if self.affinity is None else self.affinity
