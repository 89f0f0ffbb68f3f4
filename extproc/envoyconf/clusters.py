"""Envoy's clusters: extproc, and each target over TLS with its name verified."""

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
from extproc.envoyconf.affinity import affinity_balancing
from extproc.envoyconf.ext_proc import EXTPROC_CLUSTER, ext_proc_filter
from extproc.envoyconf.options import EnvoyOptions, OptionsError
from extproc.envoyconf.upstream_tls import upstream_tls

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
MOST_STREAMS = 16_384
_CONNECT_TIMEOUT = timedelta(seconds=2)
_IDLE = timedelta(seconds=60)  # of a connection to a target; AWS closes it later
_IDLE_SCARCE = timedelta(seconds=5)  # where the service counts connections


def target_cluster_name(target: TargetSettings) -> str:
    """Return the name of a target's cluster."""
    return f"target_{target.name}"


def extproc_cluster(settings: Settings, options: EnvoyOptions) -> Cluster:
    """Return the cluster of extproc: HTTP/2 with health checks; several addresses are those of workers.

    It uses TLS if the server is configured with TLS, or if the options have a CA for it.
    """
    addresses = options.addresses(settings)
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
        # Each request has a stream while it is decided: the limit is more than clients can easily hold open.
        circuit_breakers=CircuitBreakers(
            thresholds=[
                CircuitBreakersThresholds(
                    max_requests=MOST_STREAMS, max_pending_requests=MOST_STREAMS, max_retries=MOST_STREAMS
                )
            ]
        ),
    )
    if not any(address.startswith("unix:") for address in addresses):
        cluster.type = ClusterDiscoveryType.STRICT_DNS
        cluster.dns_lookup_family = ClusterDnsLookupFamily.V4_PREFERRED
    affinity = options.has_affinity(settings)
    if affinity:
        cluster.load_balancing_policy = affinity_balancing()
    if affinity or len(addresses) > 1:
        if not affinity:
            cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
        cluster.common_lb_config = ClusterCommonLbConfig(
            # Unhealthy workers are tried only if no worker is healthy.
            healthy_panic_threshold=Percent(value=1.0),
            # Without delay: by default Envoy's threads learn of health changes up to a second later.
            update_merge_window=timedelta(0),
        )
        # A worker that refused a connection is left out for a second. Otherwise all retries of a request
        # might go there until the next health check.
        cluster.outlier_detection = OutlierDetection(
            split_external_local_origin_errors=True,
            consecutive_local_origin_failure=1,
            interval=timedelta(seconds=1),
            base_ejection_time=timedelta(seconds=1),
            max_ejection_time=timedelta(seconds=5),
            max_ejection_percent=50,
            # Statistics of answers do not tell healthy workers from unhealthy ones.
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
            raise OptionsError("TLS over a Unix socket: --extproc-name must have the name in the certificate")
        names = {address.rpartition(":")[0].strip("[]") for address in addresses}
        if len(names) > 1:
            raise OptionsError("TLS to several hosts: --extproc-name must have the name in their certificate")
        (name,) = names
    return upstream_tls(name, options.extproc_ca or options.ca_file, client=client, http2=True)


def target_cluster(target: TargetSettings, settings: Settings, options: EnvoyOptions) -> Cluster:
    """Return a target's cluster: TLS with SNI and the exact host name, unless its endpoint is ``http:``."""
    address = target.endpoint_url or f"https://{target.host}"
    name = target_cluster_name(target)
    cluster = cluster_at(name, address, ca_file=options.ca_file, tls_host=target.host.partition(":")[0])
    cluster.circuit_breakers = CircuitBreakers(thresholds=[_limits(target)])
    http = _spoken_to(target)
    if options.placement == "upstream":
        http.http_filters = upstream_filters(settings, options, target)
    cluster.typed_extension_protocol_options = {_HTTP_OPTIONS: Any.pack(http)}
    return cluster


def _limits(target: TargetSettings) -> CircuitBreakersThresholds:
    """Return limits with which requests wait in extproc, for a bounded time, and not in Envoy, without bound.

    A request always has a connection or may open one, and is refused at once if too many are open:
    ``max_requests`` counts the requests of all of Envoy's threads. With ``max_connections`` alone, a request
    might wait while another thread has idle connections. The pending requests that remain wait for a
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
    """Return a cluster for a URL; TLS verifies the name ``tls_host``, by default the URL's host."""
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


def upstream_filters(settings: Settings, options: EnvoyOptions, target: TargetSettings) -> list[HttpFilter]:
    """Return the filters of a target's cluster: extproc's, and the codec that must be the last."""
    codec = HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=Any.pack(UpstreamCodec()))
    return [ext_proc_filter(settings, options, target=target), codec]
