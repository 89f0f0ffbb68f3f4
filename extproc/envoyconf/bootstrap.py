"""Render a complete Envoy bootstrap that fits the settings. The same settings give the same bytes."""

from typing import Any

import yaml
from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import Admin, Bootstrap, BootstrapStaticResources
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import (
    DownstreamConnectionsConfig,
)
from envoy_data_plane.google.protobuf import Any as AnyMessage

from extproc.config import Settings
from extproc.envoyconf.addresses import envoy_address
from extproc.envoyconf.clusters import extproc_cluster, target_cluster, upstream_filters
from extproc.envoyconf.comments import commented
from extproc.envoyconf.ext_proc import ext_proc_filter
from extproc.envoyconf.jwt_authn import issuers_of_envoy, jwks_clusters
from extproc.envoyconf.listener import listener
from extproc.envoyconf.options import EnvoyOptions

_MAX_CLIENT_CONNECTIONS = 10_000
_HEADER = """\
# Envoy configuration for extproc, printed by `extproc envoy`.
# It fails closed: without an answer of extproc no request is forwarded.
"""
_UPSTREAM = """\
# The filter is in the targets' clusters: it sees host and path as they go out. It runs again
# on each retry, with headers that are signed already, so these routes must not retry.
"""


def render(settings: Settings, options: EnvoyOptions) -> str:
    """Return the bootstrap as YAML."""
    envoys_issuers = issuers_of_envoy(settings, all_issuers=options.jwt_authn)
    bootstrap = Bootstrap(
        admin=Admin(address=envoy_address(options.admin)),
        static_resources=BootstrapStaticResources(
            listeners=[listener(settings, options, envoys_issuers=envoys_issuers)],
            clusters=[
                extproc_cluster(settings, options),
                *(target_cluster(target, settings, options) for target in settings.targets),
                *jwks_clusters(envoys_issuers, ca_file=options.ca_file),
            ],
        ),
        overload_manager=OverloadManager(
            resource_monitors=[
                ResourceMonitor(
                    name="envoy.resource_monitors.global_downstream_max_connections",
                    typed_config=AnyMessage.pack(
                        DownstreamConnectionsConfig(max_active_downstream_connections=_MAX_CLIENT_CONNECTIONS)
                    ),
                )
            ]
        ),
    )
    header = _HEADER + (_UPSTREAM if options.placement == "upstream" else "")
    return header + _yaml(bootstrap.to_dict(casing=Casing.SNAKE))


def render_filter(settings: Settings, options: EnvoyOptions) -> str:
    """Return only the entries for ``http_filters`` of the listener, or of each target's cluster."""
    if options.placement == "http":
        names = ", ".join(target.name for target in settings.targets)
        header = "# For http_filters of the listener, right before the router.\n"
        if len(settings.targets) > 1:
            header += f"# Each route names its target ({names}) in ExtProcPerRoute's grpc_initial_metadata.\n"
        return header + _yaml([ext_proc_filter(settings, options).to_dict(casing=Casing.SNAKE)])
    documents = []
    for target in settings.targets:
        header = f"# For http_filters of target {target.name}'s cluster (HttpProtocolOptions).\n"
        filters = upstream_filters(settings, options, target)
        documents.append(header + _yaml([entry.to_dict(casing=Casing.SNAKE) for entry in filters]))
    return "---\n".join(documents)


def _yaml(document: Any) -> str:
    _spell_out(document)
    return commented(yaml.safe_dump(document, sort_keys=False, width=110))


def _spell_out(node: Any) -> None:
    """Add ``failure_mode_allow: false``, which must never change: protobuf's JSON leaves defaults out."""
    if isinstance(node, dict):
        if str(node.get("@type", "")).endswith(".ext_proc.v3.ExternalProcessor"):
            node["failure_mode_allow"] = False
        for child in node.values():
            _spell_out(child)
    elif isinstance(node, list):
        for child in node:
            _spell_out(child)
