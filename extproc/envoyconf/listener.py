"""What clients connect to: the listener, the ext_proc filter, a route for each target."""

from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import (
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HeaderValue,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    ExtProcOverrides,
    ExtProcPerRoute,
    MetadataOptions,
    MetadataOptionsMetadataNamespaces,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpFilter,
)
from envoy_data_plane.google.protobuf import Any, Struct

from extproc.authn.envoy_jwt import METADATA_NAMESPACE
from extproc.authn.keys import RefreshPolicy
from extproc.config import Issuer, Settings, Target
from extproc.envoyconf.addresses import envoy_address
from extproc.envoyconf.clusters import EXTPROC_CLUSTER, target_cluster_name
from extproc.envoyconf.jwt_authn import issuers_of_envoy, jwt_authn_filter
from extproc.server.grpc_server import TARGET_METADATA

EXT_PROC_FILTER = "envoy.filters.http.ext_proc"
_MARGIN = 2.0  # seconds that Envoy waits longer than we work at most
_LONGEST_SSE_SILENCE = timedelta(hours=1)
_SECONDS_FOR_A_REQUEST = 60
_ACCESS_LOG = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_ms": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
}


def listener(settings: Settings, *, address: str, envoys_issuers: list[Issuer]) -> Listener:
    """The listener with the whole filter chain. ``envoys_issuers``: whose tokens jwt_authn verifies."""
    routes = [_target_route(target) for target in settings.targets if target.prefix]
    routes += [_target_route(target) for target in settings.targets if not target.prefix][:1]
    if all(target.prefix for target in settings.targets):
        # The resource metadata is answered by our filter, and filters run only where a route matches.
        not_found = Route(match=RouteMatch(prefix="/"), direct_response=DirectResponseAction(status=404))
        routes.append(not_found)
    manager = HttpConnectionManager(
        stat_prefix="ingress",
        use_remote_address=True,
        # Paths go upstream as they came; what would be ambiguous, we refuse.
        normalize_path=False,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
        request_headers_timeout=timedelta(seconds=10),
        request_timeout=timedelta(seconds=_SECONDS_FOR_A_REQUEST),
        stream_idle_timeout=_LONGEST_SSE_SILENCE,
        route_config=RouteConfiguration(
            name="targets",
            virtual_hosts=[
                VirtualHost(
                    name="targets",
                    domains=["*"],
                    routes=routes,
                    request_body_buffer_limit=settings.limits.request_body_bytes,
                )
            ],
        ),
        http_filters=[
            *_jwt_authn(settings, envoys_issuers),
            HttpFilter(name=EXT_PROC_FILTER, typed_config=Any.pack(ext_proc_filter(settings))),
            HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(Router())),
        ],
        access_log=[_access_log()],
    )
    chain = FilterChain(
        filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))]
    )
    return Listener(name="ingress", address=envoy_address(address), filter_chains=[chain])


def _jwt_authn(settings: Settings, issuers: list[Issuer]) -> list[HttpFilter]:
    if not issuers:
        return []
    return [HttpFilter(name=METADATA_NAMESPACE, typed_config=Any.pack(jwt_authn_filter(settings, issuers)))]


def ext_proc_filter(settings: Settings) -> ExternalProcessor:
    """Our filter: head and whole body of requests, nothing of responses."""
    longest = settings.sts.deadline + RefreshPolicy().wait + _MARGIN
    return ExternalProcessor(
        grpc_service=GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=EXTPROC_CLUSTER)),
        message_timeout=timedelta(seconds=longest),
        failure_mode_allow=False,
        processing_mode=ProcessingMode(
            request_header_mode=ProcessingModeHeaderSendMode.SEND,
            request_body_mode=ProcessingModeBodySendMode.BUFFERED,
            request_trailer_mode=ProcessingModeHeaderSendMode.SKIP,
            response_header_mode=ProcessingModeHeaderSendMode.SEND
            if settings.observe_upstream
            else ProcessingModeHeaderSendMode.SKIP,
            response_body_mode=ProcessingModeBodySendMode.NONE,
            response_trailer_mode=ProcessingModeHeaderSendMode.SKIP,
        ),
        metadata_options=_jwt_metadata() if issuers_of_envoy(settings, all_issuers=False) else None,
    )


def _jwt_metadata() -> MetadataOptions:
    """Pass on what jwt_authn verified."""
    return MetadataOptions(
        forwarding_namespaces=MetadataOptionsMetadataNamespaces(untyped=[METADATA_NAMESPACE])
    )


def _target_route(target: Target) -> Route:
    overrides = ExtProcPerRoute(
        overrides=ExtProcOverrides(
            grpc_initial_metadata=[HeaderValue(key=TARGET_METADATA, value=target.name)]
        )
    )
    match = RouteMatch(path_separated_prefix=target.prefix) if target.prefix else RouteMatch(prefix="/")
    return Route(
        name=target.name,
        match=match,
        route=RouteAction(
            cluster=target_cluster_name(target),
            host_rewrite_literal=target.host,
            timeout=timedelta(0),  # a streamed answer may last
            idle_timeout=_LONGEST_SSE_SILENCE,
        ),
        # The upstream's own challenge would lead our clients to another authorization server.
        response_headers_to_remove=["www-authenticate"],
        typed_per_filter_config={EXT_PROC_FILTER: Any.pack(overrides)},
    )


def _access_log() -> AccessLog:
    line = SubstitutionFormatString(json_format=Struct.from_dict(_ACCESS_LOG))
    stdout = StdoutAccessLog(log_format=line)
    return AccessLog(name="envoy.access_loggers.stdout", typed_config=Any.pack(stdout))
