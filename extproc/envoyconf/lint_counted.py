"""Faults of routes whose target counts open requests: Envoy does not show when a response ends."""

from collections.abc import Callable, Iterator
from typing import Any

from extproc.envoyconf.lint_document import Node, nodes
from extproc.envoyconf.lint_values import Expectations, Finding, cluster_hosts, is_true
from extproc.grpc_server.service_names import TARGET_METADATA

_SENT, _SKIPPED = ("SEND", 1), ("SKIP", 2)


def shows_ends(mode: object) -> bool:
    """Return whether Envoy keeps the stream in a processing mode, for trailers that may end a response."""
    return isinstance(mode, dict) and mode.get("response_trailer_mode") in _SENT


def shows_heads(mode: object) -> bool:
    """Return whether a mode, which extproc may ask for, has the response's head."""
    return isinstance(mode, dict) and mode.get("response_header_mode") in _SENT


def asks_for_trailers(mode: object) -> bool:
    """Return whether a mode, which extproc may ask for, has the request's trailers."""
    return isinstance(mode, dict) and mode.get("request_trailer_mode") in _SENT


def allows(filter_config: dict[str, Any], wanted: Callable[[object], bool]) -> bool:
    """Return whether Envoy takes a mode that extproc asks for, as Envoy Gateway configures it.

    A list of allowed modes must contain the very mode; those that are rendered are for filters with
    processing modes that need no other.
    """
    listed = filter_config.get("allowed_override_modes")
    return is_true(filter_config.get("allow_mode_override")) and (
        not listed or any(wanted(mode) and mode.get("response_header_mode") in _SKIPPED for mode in listed)
    )


def keeps_streams(filter_config: dict[str, Any]) -> bool:
    """Return whether a filter, or a route's overrides, keep the stream to the end of a response."""
    return shows_ends(filter_config.get("processing_mode")) or allows(
        filter_config, lambda mode: shows_ends(mode) and asks_for_trailers(mode)
    )


def counted_findings(
    route: Node, clusters: list[Node], expectations: Expectations, *, kept: bool
) -> Iterator[Finding]:
    """Yield the finding for one route with extproc's filter; ``kept``: the filter itself keeps streams."""
    # The most specific of Envoy's levels with a mode takes precedence.
    overrides = [found for holder in (route, *route.parents) for found in _overrides(holder)]
    modes = [found for found in overrides if isinstance(found.get("processing_mode"), dict)]
    if keeps_streams(modes[0]) if modes else kept:
        return
    if _is_counted(route, clusters, overrides, expectations):
        yield Finding(
            route.path,
            "response_trailer_mode is not SEND: extproc does not see responses end, so the target's limits "
            "count next to nothing; render this configuration again",
        )


def _overrides(holder: Node) -> Iterator[dict[str, Any]]:
    configs = holder.value.get("typed_per_filter_config")
    for node in nodes(configs if isinstance(configs, dict) else {}):
        overrides = node.value.get("overrides")
        if node.kind == "ExtProcPerRoute" and isinstance(overrides, dict):
            yield overrides


def _is_counted(
    route: Node, clusters: list[Node], overrides: list[dict[str, Any]], expectations: Expectations
) -> bool:
    named = [
        entry.get("value")
        for found in overrides
        for entry in found.get("grpc_initial_metadata") or []
        if isinstance(entry, dict) and entry.get("key") == TARGET_METADATA
    ]
    if named:
        return named[0] in expectations.counted
    hosts = {route.value["route"].get("host_rewrite_literal")}.union(*map(cluster_hosts, clusters))
    return not hosts.isdisjoint(expectations.counted.values())
