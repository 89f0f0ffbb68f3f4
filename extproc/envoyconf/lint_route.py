"""Faults of routes: hosts, rewrites, retries, buffers, headers changed after signing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from extproc.envoyconf.lint_chains import Chain, listener_of, manager_of
from extproc.envoyconf.lint_counted import counted_findings
from extproc.envoyconf.lint_document import Node, nodes
from extproc.envoyconf.lint_enabled import enabled_findings, is_other, runs
from extproc.envoyconf.lint_exposed import exposed_findings, repeats
from extproc.envoyconf.lint_values import Expectations, Finding, cluster_hosts
from extproc.header_names import ALWAYS_SIGNED

_ENVOY_BUFFER = 1024 * 1024  # per_connection_buffer_limit_bytes, by default
_SIGNED = {*ALWAYS_SIGNED, "authorization", "content-length", ":authority", ":path", ":method"}
_REWRITES = ("prefix_rewrite", "regex_rewrite", "path_rewrite", "path_rewrite_policy")
_LIMITS = ("request_body_buffer_limit", "per_request_buffer_limit_bytes")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What routes are compared with.

    Attributes:
        tree: all mappings of the document.
        clusters: all clusters by name.
        chains: extproc's chain of each connection manager, by the manager's path.
        upstream: the clusters with extproc's filter.
        kept: whether the filters in clusters (True) and in listeners (False) keep streams to the end of
            responses.
    """

    tree: list[Node]
    clusters: dict[str, Node]
    chains: dict[str, Chain]
    upstream: set[str]
    kept: Mapping[bool, bool]


def route_findings(
    configuration: Node, surroundings: Surroundings, expectations: Expectations
) -> Iterator[Finding]:
    """Yield the findings for one route configuration."""
    manager = manager_of(configuration, surroundings.tree)
    # Of routes alone nobody knows whose they are: they are taken for those of any chain.
    chain = (
        surroundings.chains.get(manager.path)
        if manager is not None
        else next(iter(surroundings.chains.values()), None)
    )
    for node in nodes(configuration.value, configuration.path, configuration.parents):
        action = node.value.get("route")
        if not isinstance(action, dict) or "match" not in node.value:
            continue
        names = _clusters(action)
        in_cluster = bool(names & surroundings.upstream)
        known = [surroundings.clusters[name] for name in names if name in surroundings.clusters]
        if chain is not None:
            yield from enabled_findings(node, known, chain, expectations)
        in_listener = chain is not None and runs(node, chain) and not is_other(node, known, expectations)
        if not (in_cluster or in_listener):
            continue
        yield from _host(action, f"{node.path}.route", known, expectations)
        yield from _buffer(node, listener_of(manager), expectations, in_cluster=in_cluster)
        yield from counted_findings(node, known, expectations, kept=surroundings.kept[in_cluster])
        yield from exposed_findings(node, manager)
        yield from _retries(node, in_cluster=in_cluster)
        if in_listener:
            yield from _changes_after_signing(node, action)


def _clusters(action: dict[str, Any]) -> set[str]:
    weighted = action.get("weighted_clusters")
    entries = weighted.get("clusters", []) if isinstance(weighted, dict) else []
    return {str(entry.get("name")) for entry in entries} | {str(action.get("cluster"))}


def _host(
    action: dict[str, Any], path: str, clusters: list[Node], expectations: Expectations
) -> Iterator[Finding]:
    literal = action.get("host_rewrite_literal")
    if literal is not None:
        served = set[str]().union(*(_names(cluster) for cluster in clusters))
        signed = expectations.hosts or served
        if signed and literal not in signed:
            yield Finding(f"{path}.host_rewrite_literal", f"{literal} is not the host that is signed")
    elif action.get("auto_host_rewrite"):
        if not all(expectations.is_target(cluster) for cluster in clusters):
            yield Finding(f"{path}.auto_host_rewrite", "the host may not be the one that is signed")
    else:
        yield Finding(
            path, "no host_rewrite_literal: the client's host goes upstream, and not the signed one"
        )


def _names(cluster: Node) -> set[str]:
    """Return the names that may be a signing host: those of TLS. An address may be any host."""
    return {str(node.value["sni"]) for node in nodes(cluster.value) if "sni" in node.value} & cluster_hosts(
        cluster
    )


def _buffer(
    route: Node, listener: Node | None, expectations: Expectations, *, in_cluster: bool
) -> Iterator[Finding]:
    limit = (listener.value if listener else {}).get("per_connection_buffer_limit_bytes", _ENVOY_BUFFER)
    where = f"{listener.path}.per_connection_buffer_limit_bytes" if listener else route.path
    if not in_cluster:
        for holder in (route, *route.parents):
            key = next((name for name in _LIMITS if name in holder.value), None)
            if key is not None:
                limit, where = holder.value[key], f"{holder.path}.{key}"
                break
    limit = limit.get("value", 0) if isinstance(limit, dict) else limit
    if str(limit).isdecimal() and int(limit) < expectations.body_bytes:
        needed = expectations.body_bytes
        place = (
            f"per_connection_buffer_limit_bytes: {needed} in the listener"
            if in_cluster
            else f"request_body_buffer_limit: {needed} in the virtual host"
        )
        yield Finding(
            where,
            f"{limit} is less than extproc's limit of {needed}: larger bodies get 413; write {place}",
        )


def _retries(route: Node, *, in_cluster: bool) -> Iterator[Finding]:
    holders = [(route, "route.retry_policy"), *((parent, "retry_policy") for parent in route.parents)]
    for holder, key in holders:
        owner = holder.value["route"] if key.startswith("route.") else holder.value
        policy = owner.get("retry_policy") if isinstance(owner, dict) else None
        if not policy:
            continue
        again = repeats(policy)
        if in_cluster:
            message = "a filter in the cluster runs again on each retry, with headers that are signed already"
            yield Finding(f"{holder.path}.{key}", message)
        elif again is not None:
            message = f"{again} repeats calls that AWS may have carried out; write retry_on: connect-failure"
            yield Finding(f"{holder.path}.{key}", message)
        return


def _changes_after_signing(route: Node, action: dict[str, Any]) -> Iterator[Finding]:
    for key in _REWRITES:
        if action.get(key):
            yield Finding(
                f"{route.path}.route.{key}", "changes the path after it was signed; set the target's prefix"
            )
    for holder in (route, *route.parents):
        for key in ("request_headers_to_remove", "request_headers_to_add"):
            for entry in holder.value.get(key) or []:
                name = str(entry.get("header", {}).get("key") if isinstance(entry, dict) else entry).lower()
                if name in _SIGNED or name.startswith("x-amz-"):
                    yield Finding(f"{holder.path}.{key}", f"changes {name} after it was signed")
