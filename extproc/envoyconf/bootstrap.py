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
from extproc.envoyconf.clusters import extproc_cluster, target_cluster
from extproc.envoyconf.comments import commented
from extproc.envoyconf.jwt_authn import issuers_of_envoy, jwks_clusters
from extproc.envoyconf.listener import listener
from extproc.envoyconf.options import EnvoyOptions
from extproc.libyaml import SafeDumper

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
    header = _HEADER + (_UPSTREAM if options.placement == "upstream" else "")
    return header + yaml_of(bootstrap_document(settings, options))


def bootstrap_document(settings: Settings, options: EnvoyOptions) -> dict[str, Any]:
    """Return the bootstrap as it is written in YAML."""
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
    return bootstrap.to_dict(casing=Casing.SNAKE)


def yaml_of(document: Any) -> str:
    """Return a part of a bootstrap as YAML, with comments. It is changed where a default must be seen."""
    _spell_out(document)
    return commented(yaml.dump(document, Dumper=SafeDumper, sort_keys=False, width=110))


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
