"""TLS from Envoy to a server, with verification of its name and authority."""

import ipaddress

from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any


def upstream_tls(
    name: str, ca_file: str, *, client: tuple[str, str] | None = None, http2: bool = False
) -> TransportSocket:
    """Return TLS that requires a certificate of ``ca_file`` for ``name``: a DNS name, IP address or URI.

    ``client``: the certificate and key of Envoy, as files on its machine.
    """
    san_type = _san_type(name)
    tls = CommonTlsContext(
        validation_context=CertificateValidationContext(
            trusted_ca=DataSource(filename=ca_file),
            match_typed_subject_alt_names=[
                SubjectAltNameMatcher(san_type=san_type, matcher=StringMatcher(exact=name))
            ],
        )
    )
    if http2:
        tls.alpn_protocols = ["h2"]
        tls.tls_params = TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2)
    if client is not None:
        certificate, key = client
        tls.tls_certificates = [
            TlsCertificate(
                certificate_chain=DataSource(filename=certificate), private_key=DataSource(filename=key)
            )
        ]
    sni = name if san_type == SubjectAltNameMatcherSanType.DNS else ""  # RFC 6066 3: names only
    context = UpstreamTlsContext(sni=sni, common_tls_context=tls)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def _san_type(name: str) -> SubjectAltNameMatcherSanType:
    if "://" in name:
        return SubjectAltNameMatcherSanType.URI
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return SubjectAltNameMatcherSanType.DNS
    return SubjectAltNameMatcherSanType.IP_ADDRESS
