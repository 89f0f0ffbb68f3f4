"""The parts of a configuration that the lint compares: filter chains, clusters, and owners of routes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from extproc.envoyconf.lint_document import Node
from extproc.envoyconf.lint_values import is_true

_EXT_PROC = "ExternalProcessor"
_OUR_CLUSTER = "extproc"
_CLUSTER_PLACES = re.compile(r"(?:^|\.)(?:clusters\[\d+\]|(?:static|dynamic_\w+)_clusters\[\d+\]\.cluster)$")


@dataclass(frozen=True, slots=True)
class Chain:
    """A list of HTTP filters with extproc's in it.

    Attributes:
        owner: the connection manager, or the cluster.
        filters: all entries of ``http_filters``.
        ours: the position of extproc's.
        upstream: whether the filter is in a cluster.
    """

    owner: Node
    filters: list[Node]
    ours: int
    upstream: bool

    @property
    def entry(self) -> Node:
        """Return extproc's entry."""
        return self.filters[self.ours]

    @property
    def name(self) -> str:
        """Return the entry's name, by which routes configure it."""
        return str(self.entry.value.get("name"))

    @property
    def is_disabled(self) -> bool:
        """Return whether the filter runs only for routes that enable it, as Envoy Gateway renders it."""
        return is_true(self.entry.value.get("disabled"))


def chains(tree: list[Node]) -> Iterator[Chain]:
    """Yield the chains with a filter that calls a cluster ``extproc``; if none does, with any ext_proc."""
    candidates = []
    for node in tree:
        if isinstance(node.value.get("http_filters"), list):
            entries = [
                child
                for child in tree
                if child.parents[:1] == (node,) and ".http_filters[" in f".{child.path}"
            ]
            candidates.append((node, entries))
    # A pasted list of filters has no owner: the list is the document.
    fragments = [node for node in tree if not node.parents and node.path.startswith("[")]
    if fragments:
        candidates.append((fragments[0], fragments))
    named = any(_is_ours(entry, strictly=True) for _, entries in candidates for entry in entries)
    for owner, entries in candidates:
        for position, entry in enumerate(entries):
            if _is_ours(entry, strictly=named):
                upstream = owner.kind == "HttpProtocolOptions" or _ends_in_codec(entries)
                cluster = next((parent for parent in owner.parents if is_cluster(parent)), owner)
                yield Chain(cluster if upstream else owner, entries, position, upstream)


def _ends_in_codec(entries: list[Node]) -> bool:
    return type_of(entries[-1]).endswith("UpstreamCodec")


def _is_ours(entry: Node, *, strictly: bool) -> bool:
    config = entry.value.get("typed_config")
    if not isinstance(config, dict) or not str(config.get("@type", "")).endswith(_EXT_PROC):
        return False
    return not strictly or service_cluster(entry) == _OUR_CLUSTER


def service_cluster(entry: Node) -> str:
    """Return the name of the cluster that an ext_proc filter calls; empty if there is none."""
    service = entry.value["typed_config"].get("grpc_service")
    envoy_grpc = service.get("envoy_grpc") if isinstance(service, dict) else None
    return str(envoy_grpc.get("cluster_name")) if isinstance(envoy_grpc, dict) else ""


def is_cluster(node: Node) -> bool:
    """Return whether a mapping is a cluster; of a route's weighted clusters none is."""
    value = node.value
    if "name" not in value or "weighted_clusters" in node.path:
        return False
    known = "load_assignment" in value or "typed_extension_protocol_options" in value
    return known or _CLUSTER_PLACES.search(node.path) is not None


def type_of(entry: Node) -> str:
    """Return the full type of an entry's configuration."""
    config = entry.value.get("typed_config")
    return str(config.get("@type", "")).rpartition("/")[2] if isinstance(config, dict) else ""


def manager_of(node: Node, tree: list[Node]) -> Node | None:
    """Return the connection manager of a route configuration or of a part of it.

    It is around the node, or names the configuration that it gets by RDS.
    """
    holders = (node, *node.parents)
    around = next((holder for holder in holders if "http_filters" in holder.value), None)
    if around is not None:
        return around
    configuration = next((holder for holder in holders if "virtual_hosts" in holder.value), None)
    name = configuration.value.get("name") if configuration else None
    return next((manager for manager in tree if name is not None and rds_name(manager) == name), None)


def rds_name(manager: Node) -> Any:
    """Return the name of the route configuration that a connection manager gets by RDS."""
    rds = manager.value.get("rds")
    return rds.get("route_config_name") if isinstance(rds, dict) else None


def listener_of(manager: Node | None) -> Node | None:
    """Return the listener around a connection manager, or beside it in the pieces that we print."""
    for holder in (manager, *manager.parents) if manager else ():
        if "filter_chains" in holder.value:
            return holder
        beside = holder.value.get("listener")
        if isinstance(beside, dict):
            return Node("listener", beside)
    return None
