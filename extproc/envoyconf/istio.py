"""An EnvoyFilter for a gateway of Istio: the same pieces, as patches of what Istio renders.

https://istio.io/latest/docs/reference/config/networking/envoy-filter/
"""

from typing import Any
from urllib.parse import urlsplit

from extproc.config import Settings
from extproc.envoyconf.bootstrap import bootstrap_document, yaml_of
from extproc.envoyconf.cors import CORS_FILTER
from extproc.envoyconf.options import EnvoyOptions, OptionsError

_HEADER = """\
# An EnvoyFilter for a gateway of Istio, printed by `extproc envoy --for istio`. Apply it in the gateway's
# namespace. The gateway must serve nothing else: every route of it needs a token. A Gateway and a
# VirtualService for the host {host} must exist; the routes here come before those of the latter.
"""
_MANAGER = "envoy.filters.network.http_connection_manager"
_ROUTER = "envoy.filters.http.router"
_SETTINGS = ("normalize_path", "path_with_escaped_slashes_action")
_OF_ROUTES = ("request_headers_to_remove", "response_headers_to_remove")


def render_istio(settings: Settings, options: EnvoyOptions) -> str:
    """Return the resource as YAML.

    Raises:
        OptionsError: the filter is asked for in the targets' clusters, or the selector is no label.
    """
    if options.placement != "http":
        raise OptionsError("--for istio: --placement must be http")
    label, separator, value = options.selector.partition("=")
    if not (label and separator and value):
        raise OptionsError(f"--selector {options.selector}: LABEL=VALUE is expected")
    host = urlsplit(settings.resource.url).hostname or ""
    patches = _patches(settings, options, host)
    document = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "extproc"},
        "spec": {"workloadSelector": {"labels": {label: value}}, "configPatches": patches},
    }
    return _HEADER.format(host=host) + yaml_of(document)


def _patches(settings: Settings, options: EnvoyOptions, host: str) -> list[dict[str, Any]]:
    resources = bootstrap_document(settings, options)["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    *filters, router = [entry for entry in manager["http_filters"] if entry["name"] != CORS_FILTER]
    own = {"@type": manager["@type"], **{key: manager[key] for key in _SETTINGS}}
    return [
        *(_patch("CLUSTER", "ADD", cluster) for cluster in resources["clusters"]),
        _patch("NETWORK_FILTER", "MERGE", {"name": _MANAGER, "typed_config": own}, _filter_match()),
        # Each before the router: so the order stays.
        *(_patch("HTTP_FILTER", "INSERT_BEFORE", entry, _filter_match(_ROUTER)) for entry in filters),
        _patch("HTTP_FILTER", "MERGE", router, _filter_match(_ROUTER)),
        # The last is inserted first, and stays behind the others.
        *(
            _patch("HTTP_ROUTE", "INSERT_FIRST", route, {"routeConfiguration": {"vhost": {"name": vhost}}})
            for route in reversed(_routes(manager["route_config"]))
            for vhost in _virtual_hosts(settings.resource.url, host)
        ),
    ]


def _patch(
    kind: str, operation: str, value: dict[str, Any], match: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "applyTo": kind,
        "match": {"context": "GATEWAY", **(match or {})},
        "patch": {"operation": operation, "value": value},
    }


def _filter_match(name: str | None = None) -> dict[str, Any]:
    manager: dict[str, Any] = {"name": _MANAGER, **({"subFilter": {"name": name}} if name else {})}
    return {"listener": {"filterChain": {"filter": manager}}}


def _routes(configuration: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the routes with what is above them in a configuration of our own."""
    (host,) = configuration["virtual_hosts"]
    above = {key: configuration[key] for key in _OF_ROUTES}
    above["request_body_buffer_limit"] = host["request_body_buffer_limit"]
    return [{**route, **(above if "route" in route else {})} for route in host["routes"]]


def _virtual_hosts(url: str, host: str) -> list[str]:
    """Return Istio's names for the host: with the port that its listener has."""
    parts = urlsplit(url)
    return [f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"]
