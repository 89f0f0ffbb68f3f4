"""Routes to the targets: they set the host, leave the prefix to extproc, and remove the client's traces."""

from datetime import timedelta

from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.google.protobuf import Any

from extproc.config import Settings, TargetSettings
from extproc.envoyconf.clusters import target_cluster_name
from extproc.envoyconf.cors import CORS_FILTER, cors_policy
from extproc.envoyconf.ext_proc import EXT_PROC_FILTER, target_override
from extproc.envoyconf.options import Placement

METADATA_PATH = "/.well-known/oauth-protected-resource"  # RFC 9728 3.1
LONGEST_SSE_SILENCE = timedelta(hours=1)
# Useless to AWS, and they reveal networks and addresses. x-request-id stays: logs are joined by it.
_REMOVED_REQUEST_HEADERS = [
    "forwarded", "via", "x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host",
    "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto",
    # extproc must not remove Envoy's own headers, and no patterns are possible here: all of Envoy's manual.
    "x-envoy-attempt-count", "x-envoy-auth-partial-body", "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms", "x-envoy-external-address", "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout", "x-envoy-internal", "x-envoy-ip-tags",
    "x-envoy-is-timeout-retry", "x-envoy-max-retries", "x-envoy-original-dst-host",
    "x-envoy-original-host", "x-envoy-original-method", "x-envoy-original-path", "x-envoy-original-url",
    "x-envoy-peer-metadata", "x-envoy-peer-metadata-id", "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes", "x-envoy-retry-grpc-on", "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response", "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
    # A hop-by-hop header. No trailers are sent to AWS over HTTP/1.1.
    "te",
]  # fmt: skip
# The upstream's own challenge would lead our clients to another authorization server.
_REMOVED_RESPONSE_HEADERS = ["www-authenticate"]


def route_configuration(settings: Settings, *, placement: Placement) -> RouteConfiguration:
    """Return all routes, those of targets with a prefix first. Other requests get a 404."""
    targets = sorted(
        (t for t in settings.targets if t.prefix), key=lambda t: len(t.prefix or ""), reverse=True
    )
    rest = [target for target in settings.targets if not target.prefix][:1]
    routes = [_target_route(target, placement) for target in [*targets, *rest]]
    if not rest:
        # extproc answers requests for the resource metadata, and filters run only where a route matches.
        if placement == "upstream":
            routes.insert(0, _metadata_route(targets[0]))
        not_found = Route(
            name="no-target", match=RouteMatch(prefix="/"), direct_response=DirectResponseAction(status=404)
        )
        routes.append(not_found)
    return RouteConfiguration(
        name="targets",
        request_headers_to_remove=_REMOVED_REQUEST_HEADERS,
        response_headers_to_remove=_REMOVED_RESPONSE_HEADERS,
        virtual_hosts=[
            VirtualHost(
                name="targets",
                domains=["*"],
                routes=routes,
                request_body_buffer_limit=settings.limits.request_body_bytes,
                typed_per_filter_config={CORS_FILTER: Any.pack(cors_policy(settings))},
            )
        ],
    )


def _target_route(target: TargetSettings, placement: Placement) -> Route:
    match = RouteMatch(path_separated_prefix=target.prefix) if target.prefix else RouteMatch(prefix="/")
    route = Route(name=target.name, match=match, route=_to(target))
    if placement == "http":
        route.typed_per_filter_config = {EXT_PROC_FILTER: Any.pack(target_override(target))}
    return route


def _metadata_route(target: TargetSettings) -> Route:
    """Return a route to any target: the filter in its cluster answers, and nothing is forwarded."""
    return Route(name="resource-metadata", match=RouteMatch(prefix=METADATA_PATH), route=_to(target))


def _to(target: TargetSettings) -> RouteAction:
    return RouteAction(
        cluster=target_cluster_name(target),
        host_rewrite_literal=target.host,
        timeout=timedelta(0),  # a streamed response may last
        idle_timeout=LONGEST_SSE_SILENCE,
    )
