"""Two Envoys: the one that is measured, and the upstream behind it.

The measured one has a listener for each contender, all on its one worker and all made of what
``extproc envoy`` renders, so that contenders differ in their filter alone. There is no access log.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from extproc import config
from extproc.envoyconf.bootstrap import render
from extproc.envoyconf.ext_proc import EXT_PROC_FILTER
from extproc.envoyconf.options import EnvoyOptions

SIGNED_PATH = "/mcp"
CHECKED_PATH = "/echo"
"""Leads to the demo's upstream, which verifies the signature with code that shares nothing with ours."""

_LARGEST = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listener:
    """What stands between the client and the upstream at one port."""

    name: str
    port: int
    upstream_port: int
    extproc: str | None = None  # gRPC address
    native: dict[str, str] | None = None  # credentials that Envoy's own filter signs with


def front(settings: config.Settings, listeners: Sequence[Listener], *, admin_port: int, checked: str) -> str:
    """The measured Envoy's bootstrap; ``checked`` is the address behind ``CHECKED_PATH``."""
    options = EnvoyOptions(listen="127.0.0.1:1", admin=f"127.0.0.1:{admin_port}")
    bootstrap = yaml.safe_load(render(settings, options))
    resources = bootstrap["static_resources"]
    (listener,) = resources["listeners"]
    by_name = {cluster["name"]: cluster for cluster in resources["clusters"]}
    extproc = by_name["extproc"]
    target = next(cluster for name, cluster in by_name.items() if name.startswith("target_"))
    resources["listeners"] = [_listener(listener, wanted) for wanted in listeners]
    resources["clusters"] = [_cluster(target, "checked", checked)]
    for wanted in listeners:
        address = f"127.0.0.1:{wanted.upstream_port}"
        resources["clusters"].append(_cluster(target, f"upstream_{wanted.name}", address))
        if wanted.extproc is not None:
            resources["clusters"].append(_cluster(extproc, f"extproc_{wanted.port}", wanted.extproc))
    return yaml.safe_dump(bootstrap, sort_keys=False)


def _listener(rendered: dict[str, Any], wanted: Listener) -> dict[str, Any]:
    listener = copy.deepcopy(rendered)
    listener["name"] = wanted.name
    listener["address"]["socket_address"]["port_value"] = wanted.port
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["stat_prefix"] = wanted.name
    manager.pop("access_log")
    filters = manager["http_filters"]
    extproc = next(found for found in filters if found["name"] == EXT_PROC_FILTER)
    place = filters.index(extproc)
    filters.remove(extproc)
    (host,) = manager["route_config"]["virtual_hosts"]
    (route,) = host["routes"]
    route["route"]["cluster"] = f"upstream_{wanted.name}"
    if wanted.extproc is not None:
        service = extproc["typed_config"]["grpc_service"]["envoy_grpc"]
        # Envoy sends the name as the authority, which Go wants well-formed.
        service["cluster_name"] = f"extproc_{wanted.port}"
        filters.insert(place, extproc)
    else:
        route.pop("typed_per_filter_config")
    if wanted.native is not None:
        filters.insert(place, _native(wanted.native, host=route["route"]["host_rewrite_literal"]))
    checked = copy.deepcopy(route)
    checked["name"], checked["match"] = "checked", {"prefix": CHECKED_PATH}
    checked["route"]["cluster"] = "checked"
    host["routes"].insert(0, checked)
    return listener


def _native(credentials: dict[str, str], *, host: str) -> dict[str, Any]:
    filters = "type.googleapis.com/envoy.extensions.filters.http"
    return {
        "name": "envoy.filters.http.aws_request_signing",
        "typed_config": {
            "@type": f"{filters}.aws_request_signing.v3.AwsRequestSigning",
            "service_name": "aws-mcp",
            "region": "us-east-1",
            "host_rewrite": host,
            "match_excluded_headers": [{"prefix": "x-envoy"}, {"prefix": "x-forwarded"}],
            "credential_provider": {"inline_credential": credentials},
        },
    }


def _cluster(rendered: dict[str, Any], name: str, address: str) -> dict[str, Any]:
    cluster = copy.deepcopy(rendered)
    cluster["name"] = cluster["load_assignment"]["cluster_name"] = name
    host, _, port = address.rpartition(":")
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"] = {"address": host, "port_value": int(port)}
    return cluster


def upstream(*, signed_port: int, open_port: int) -> str:
    """The upstream's bootstrap: reads the body and answers at once.

    ``signed_port`` answers 403 to whatever has no SigV4 signature, so that no unsigned request
    counts as a success; ``open_port`` takes everything.
    """
    ok = {"status": 200, "body": {"inline_string": "ok"}}
    has_signature = {"name": "authorization", "string_match": {"prefix": "AWS4-HMAC-SHA256 "}}
    signed = [
        {"match": {"prefix": "/", "headers": [has_signature]}, "direct_response": ok},
        {"match": {"prefix": "/"}, "direct_response": {"status": 403}},
    ]
    anything = [{"match": {"prefix": "/"}, "direct_response": ok}]
    listeners = [_answering("signed", signed_port, signed), _answering("open", open_port, anything)]
    return yaml.safe_dump({"static_resources": {"listeners": listeners}}, sort_keys=False)


def _answering(name: str, port: int, routes: list[dict[str, Any]]) -> dict[str, Any]:
    types = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}]},
        "http_filters": [
            # An answer before the whole body has come would cost the connection.
            {
                "name": "envoy.filters.http.buffer",
                "typed_config": {
                    "@type": f"{types}.http.buffer.v3.Buffer",
                    "max_request_bytes": _LARGEST,
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{types}.http.router.v3.Router"},
            },
        ],
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "per_connection_buffer_limit_bytes": _LARGEST,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
