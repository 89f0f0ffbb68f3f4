"""The pieces of a rendered configuration that belong together, for an Envoy that exists already."""

from typing import Any

from extproc.config import Settings
from extproc.envoyconf.bootstrap import bootstrap_document, yaml_of
from extproc.envoyconf.cors import CORS_FILTER
from extproc.envoyconf.options import EnvoyOptions

_HEADER = """\
# The pieces of an Envoy configuration that belong together: the lists are to be merged into yours.
# `extproc envoy --check` finds what is missing when that is done.
"""
_MANAGER = """
# 1. Into the HttpConnectionManager. The filters go right before your router, the last, in this order.
#    Routes: give each route to a target what is set here, and the removed headers at one of their levels.
#    Other routes of the same listener are refused without a token: disable the filter for them, with
#    typed_per_filter_config:
#      envoy.filters.http.ext_proc:
#        "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute
#        disabled: true
"""
_LISTENER = """
# 2. Into the listener.
"""
_CLUSTERS = """
# {number}. Into static_resources.clusters: extproc, and its targets.
"""
# What a connection manager must have besides filters and routes.
_SETTINGS = ("use_remote_address", "normalize_path", "path_with_escaped_slashes_action")


def render_pieces(settings: Settings, options: EnvoyOptions) -> str:
    """Return the pieces as one YAML document, with comments that say where each goes."""
    resources = bootstrap_document(settings, options)["static_resources"]
    (listener,) = resources["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]
    for host in routes["virtual_hosts"]:
        host.get("typed_per_filter_config", {}).pop(CORS_FILTER, None)
        if not host.get("typed_per_filter_config", True):
            del host["typed_per_filter_config"]
    pieces: dict[str, Any] = {key: manager[key] for key in _SETTINGS if key in manager}
    pieces["http_filters"] = [entry for entry in manager["http_filters"] if entry["name"] != CORS_FILTER]
    pieces["route_config"] = routes
    text = _HEADER + _MANAGER + yaml_of({"http_connection_manager": pieces})
    limit = listener.get("per_connection_buffer_limit_bytes")
    if limit is not None:
        text += _LISTENER + yaml_of({"listener": {"per_connection_buffer_limit_bytes": limit}})
    number = 2 if limit is None else 3
    return text + _CLUSTERS.format(number=number) + yaml_of({"clusters": resources["clusters"]})
