"""Where Envoy connects: our gRPC server, and each target over TLS with its name checked."""

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
    ClusterLbPolicy,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    TransportSocket,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HttpProtocolOptions as CommonHttpProtocolOptions,
)
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsAutoHttpConfig,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from extproc.config import Settings, TargetSettings, Tls
from extproc.envoyconf.addresses import load_assignment
from extproc.envoyconf.ext_proc import EXTPROC_CLUSTER, ext_proc_filter
from extproc.envoyconf.options import EnvoyOptions, OptionsError
from extproc.envoyconf.upstream_tls import upstream_tls

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_STREAMS = 16_384
_CONNECT_TIMEOUT = timedelta(seconds=2)
_IDLE = timedelta(seconds=60)  # of a connection to a target; AWS's own ends are later
_IDLE_SCARCE = timedelta(seconds=5)  # where the service counts connections


def target_cluster_name(target: TargetSettings) -> str:
    """The cluster of a target."""
    return f"target_{target.name}"


def extproc_cluster(settings: Settings, options: EnvoyOptions) -> Cluster:
    """Our gRPC server: HTTP/2, health-checked; with several addresses, workers behind them.

    Over TLS if it speaks TLS, or if a CA is given for it.
    """
    addresses = options.extproc_addresses or settings.listen.grpc_addresses
    http2 = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions()
        )
    )
    cluster = Cluster(
        name=EXTPROC_CLUSTER,
        connect_timeout=_CONNECT_TIMEOUT,
        load_assignment=load_assignment(EXTPROC_CLUSTER, *addresses),
        health_checks=[
            HealthCheck(
                timeout=timedelta(seconds=1),
                interval=timedelta(seconds=2),
                no_traffic_interval=timedelta(seconds=2),
                unhealthy_threshold=2,
                healthy_threshold=1,
                grpc_health_check=HealthCheckGrpcHealthCheck(),
            )
        ],
        typed_extension_protocol_options={_HTTP_OPTIONS: Any.pack(http2)},
        # Each request is a stream to us while it is decided: more of them than clients can easily hold open.
        circuit_breakers=CircuitBreakers(
            thresholds=[
                CircuitBreakersThresholds(
                    max_requests=_STREAMS, max_pending_requests=_STREAMS, max_retries=_STREAMS
                )
            ]
        ),
    )
    if not any(address.startswith("unix:") for address in addresses):
        cluster.type = ClusterDiscoveryType.STRICT_DNS
        cluster.dns_lookup_family = ClusterDnsLookupFamily.V4_PREFERRED
    if len(addresses) > 1:
        cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
        cluster.common_lb_config = ClusterCommonLbConfig(
            # Only when no worker at all is healthy is it better to try them than not to.
            healthy_panic_threshold=Percent(value=1.0),
            # At once: by default Envoy's threads learn of a health change up to a second late.
            update_merge_window=timedelta(0),
        )
        # Where a connection was refused a second is spent elsewhere. Without this a request would be sent
        # there again and again, with all its retries, until a health check says so.
        cluster.outlier_detection = OutlierDetection(
            split_external_local_origin_errors=True,
            consecutive_local_origin_failure=1,
            interval=timedelta(seconds=1),
            base_ejection_time=timedelta(seconds=1),
            max_ejection_time=timedelta(seconds=5),
            max_ejection_percent=50,
            # Statistics over what instances answer are for other kinds of services.
            enforcing_success_rate=0,
            enforcing_local_origin_success_rate=0,
        )
    if settings.listen.tls is not None or options.extproc_ca is not None:
        cluster.transport_socket = _extproc_tls(addresses, settings.listen.tls, options)
    return cluster


def _extproc_tls(addresses: Sequence[str], tls: Tls | None, options: EnvoyOptions) -> TransportSocket:
    client = None
    if options.extproc_cert is not None and options.extproc_key is not None:
        client = (options.extproc_cert, options.extproc_key)
    elif tls is not None and tls.client_ca is not None:
        raise OptionsError("listen.tls.client_ca is set: Envoy needs --extproc-cert and --extproc-key")
    name = options.extproc_name
    if name is None:
        if any(address.startswith("unix:") for address in addresses):
            raise OptionsError("TLS over a Unix socket: --extproc-name says what the certificate is for")
        names = {address.rpartition(":")[0].strip("[]") for address in addresses}
        if len(names) > 1:
            raise OptionsError("TLS to several hosts: --extproc-name says what their certificate is for")
        (name,) = names
    return upstream_tls(name, options.extproc_ca or options.ca_file, client=client, http2=True)


def target_cluster(target: TargetSettings, settings: Settings, options: EnvoyOptions) -> Cluster:
    """One target; TLS with SNI and the exact host name, unless its endpoint is explicitly ``http:``."""
    address = target.endpoint_url or f"https://{target.host}"
    name = target_cluster_name(target)
    cluster = cluster_at(name, address, ca_file=options.ca_file, tls_host=target.host.partition(":")[0])
    cluster.circuit_breakers = CircuitBreakers(thresholds=[_limits(target)])
    http = _spoken_to(target)
    if options.placement == "upstream":
        http.http_filters = upstream_filters(settings, target)
    cluster.typed_extension_protocol_options = {_HTTP_OPTIONS: Any.pack(http)}
    return cluster


def _limits(target: TargetSettings) -> CircuitBreakersThresholds:
    """Requests wait in extproc, for a bounded time, and never in Envoy, whose own line knows no time.

    So a request always finds its connection, or may open one, and is refused at once if too many are open:
    ``max_requests`` counts those of all of Envoy's threads. ``max_connections`` alone would let it wait, for
    its thread, behind idle connections of another. The line that is left is of requests that wait for a
    connection to be opened.
    """
    limit = target.connection_limit
    return CircuitBreakersThresholds(
        max_requests=limit, max_connections=2 * limit, max_pending_requests=limit, track_remaining=True
    )


def _spoken_to(target: TargetSettings) -> HttpProtocolOptions:
    http1, http2 = Http1ProtocolOptions(), Http2ProtocolOptions()
    common = CommonHttpProtocolOptions(idle_timeout=_IDLE_SCARCE if target.counts_streams else _IDLE)
    if target.protocol == "auto":
        auto = HttpProtocolOptionsAutoHttpConfig(http_protocol_options=http1, http2_protocol_options=http2)
        return HttpProtocolOptions(common_http_protocol_options=common, auto_config=auto)
    explicit = (
        HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2)
        if target.protocol == "http2"
        else HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=http1)
    )
    return HttpProtocolOptions(common_http_protocol_options=common, explicit_http_config=explicit)


def cluster_at(name: str, address: str, *, ca_file: str, tls_host: str | None = None) -> Cluster:
    """What a URL points to; TLS checks for ``tls_host``, or else for the URL's host."""
    url = urlsplit(address)
    port = url.port or (443 if url.scheme == "https" else 80)
    host = tls_host or url.hostname or ""
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.STRICT_DNS,
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=_CONNECT_TIMEOUT,
        load_assignment=load_assignment(name, f"{url.hostname}:{port}"),
        transport_socket=upstream_tls(host, ca_file) if url.scheme == "https" else None,
    )


def upstream_filters(settings: Settings, target: TargetSettings) -> list[HttpFilter]:
    """The filters of a target's cluster: ours, and the one that must be the last."""
    codec = HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=Any.pack(UpstreamCodec()))
    return [ext_proc_filter(settings, target=target), codec]
