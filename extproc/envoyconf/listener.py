"""The listener for clients, and its filter chain."""

import typing
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    TransportSocket,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpFilter,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
)
from envoy_data_plane.google.protobuf import Any

from extproc.authn.envoy_jwt import METADATA_NAMESPACE
from extproc.config import Issuer, Settings
from extproc.config.settings import LimitSettings
from extproc.envoyconf.access_log import json_access_log
from extproc.envoyconf.addresses import envoy_address
from extproc.envoyconf.affinity import affinity_filter
from extproc.envoyconf.cors import cors_filter
from extproc.envoyconf.ext_proc import ext_proc_filter
from extproc.envoyconf.jwt_authn import jwt_authn_filter
from extproc.envoyconf.local_replies import local_replies
from extproc.envoyconf.options import EnvoyOptions
from extproc.envoyconf.routes import LONGEST_SSE_SILENCE, route_configuration

_SECONDS_FOR_A_REQUEST = 60
_STREAMS_A_CONNECTION = 256
_STREAM_WINDOW = 1024 * 1024
_CONNECTION_WINDOW = 4 * 1024 * 1024


def listener(settings: Settings, options: EnvoyOptions, *, envoys_issuers: list[Issuer]) -> Listener:
    """Return the listener with its filters; jwt_authn verifies the tokens of ``envoys_issuers``."""
    filters = [cors_filter(), *_jwt_authn(settings, envoys_issuers)]
    if options.has_affinity(settings):
        filters.append(affinity_filter())
    if options.placement == "http":
        filters.append(ext_proc_filter(settings, options))
    # No x-envoy-* headers of the router's own: the upstream must not see them.
    router = Router(suppress_envoy_headers=True)
    filters.append(HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(router)))
    manager = HttpConnectionManager(
        stat_prefix="ingress",
        use_remote_address=True,
        # Paths go upstream unchanged; extproc refuses ambiguous ones.
        normalize_path=False,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
        request_headers_timeout=timedelta(seconds=10),
        request_timeout=timedelta(seconds=_SECONDS_FOR_A_REQUEST),
        stream_idle_timeout=LONGEST_SSE_SILENCE,
        **_header_limits(settings),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=_STREAMS_A_CONNECTION,
            initial_stream_window_size=_STREAM_WINDOW,
            initial_connection_window_size=_CONNECTION_WINDOW,
        ),
        route_config=route_configuration(settings, placement=options.placement),
        http_filters=filters,
        access_log=[json_access_log()],
        # Denials by a filter in a cluster cannot be distinguished from Envoy's own replies here.
        local_reply_config=local_replies(settings) if options.placement == "http" else None,
    )
    chain = FilterChain(
        filters=[
            Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))
        ],
        transport_socket=_tls(options),
    )
    result = Listener(name="ingress", address=envoy_address(options.listen), filter_chains=[chain])
    if options.placement == "upstream":
        # The listener, not the route, limits the buffer of a filter in a cluster.
        result.per_connection_buffer_limit_bytes = settings.limits.request_body_bytes
    return result


def _header_limits(settings: Settings) -> dict[str, typing.Any]:
    """Return the limits that differ from Envoy's defaults."""
    limits, own = settings.limits, LimitSettings()
    differing: dict[str, typing.Any] = {}
    if limits.request_headers_kib != own.request_headers_kib:
        differing["max_request_headers_kb"] = limits.request_headers_kib
    if limits.request_headers != own.request_headers:
        differing["common_http_protocol_options"] = HttpProtocolOptions(
            max_headers_count=limits.request_headers
        )
    return differing


def _jwt_authn(settings: Settings, issuers: list[Issuer]) -> list[HttpFilter]:
    if not issuers:
        return []
    return [HttpFilter(name=METADATA_NAMESPACE, typed_config=Any.pack(jwt_authn_filter(settings, issuers)))]


def _tls(options: EnvoyOptions) -> TransportSocket | None:
    if options.tls_cert is None or options.tls_key is None:
        return None
    context = DownstreamTlsContext(
        common_tls_context=CommonTlsContext(
            alpn_protocols=["h2", "http/1.1"],
            tls_params=TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2),
            tls_certificates=[
                TlsCertificate(
                    certificate_chain=DataSource(filename=options.tls_cert),
                    private_key=DataSource(filename=options.tls_key),
                )
            ],
        )
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))
