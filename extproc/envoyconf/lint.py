"""Find settings of an Envoy configuration that let requests out unsigned, or break signatures.

The tree is read without Envoy's message types, so that unknown extensions do not matter.
Not checked: resources that xDS delivers later, filters behind a matcher, and whether Envoy accepts
the configuration (``envoy --mode validate`` does that).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from extproc.envoyconf.lint_cluster import extproc_cluster_findings
from extproc.envoyconf.lint_counted import keeps_streams
from extproc.envoyconf.lint_document import Node, nodes
from extproc.envoyconf.lint_filter import filter_findings, per_route_findings
from extproc.envoyconf.lint_route import route_findings
from extproc.envoyconf.lint_values import Expectations, Finding

__all__ = ["Expectations", "Finding", "findings"]

_EXT_PROC = "ExternalProcessor"
_OUR_CLUSTER = "extproc"
# Filters that change nothing that is signed. Any other filter after extproc's may.
_HARMLESS_AFTER_OURS = frozenset(
    f"envoy.extensions.filters.http.{name}"
    for name in (
        "router.v3.Router", "upstream_codec.v3.UpstreamCodec", "buffer.v3.Buffer", "cors.v3.Cors",
        "csrf.v3.CsrfPolicy", "fault.v3.HTTPFault", "rbac.v3.RBAC", "ratelimit.v3.RateLimit",
        "local_ratelimit.v3.LocalRateLimit", "rate_limit_quota.v3.RateLimitQuotaFilterConfig",
        "adaptive_concurrency.v3.AdaptiveConcurrency", "admission_control.v3.AdmissionControl",
        "bandwidth_limit.v3.BandwidthLimit", "health_check.v3.HealthCheck", "on_demand.v3.OnDemand",
        "set_metadata.v3.Config", "set_filter_state.v3.Config", "tap.v3.Tap",
        "stateful_session.v3.StatefulSession",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Chain:
    """A list of HTTP filters with extproc's in it; ``owner`` is the connection manager or the cluster."""

    owner: Node
    filters: list[Node]
    ours: int
    upstream: bool


def findings(document: Any, expectations: Expectations) -> list[Finding]:
    """Return all findings, sorted by their paths."""
    tree = list(nodes(document))
    chains = list(_chains(tree))
    if not chains:
        return [Finding("document", "no ext_proc filter: nothing is signed, and bearer tokens go upstream")]
    found: list[Finding] = []
    for chain in chains:
        ours = chain.filters[chain.ours]
        found += filter_findings(ours, expectations)
        found += _after_ours(chain)
        if chain.upstream:
            continue
        found += _manager_findings(chain.owner)
    upstream = {str(chain.owner.value.get("name")) for chain in chains if chain.upstream}
    downstream = any(not chain.upstream for chain in chains)
    clusters = {str(node.value.get("name")): node for node in tree if _is_cluster(node)}
    kept = {
        place: all(
            keeps_streams(chain.filters[chain.ours].value["typed_config"])
            for chain in chains
            if chain.upstream is place
        )
        for place in (True, False)
    }
    for name in {_service_cluster(chain.filters[chain.ours]) for chain in chains} & clusters.keys():
        found += extproc_cluster_findings(clusters[name], expectations)
    for node in tree:
        found += per_route_findings(node)
        if "virtual_hosts" in node.value:
            found += route_findings(
                node,
                clusters=clusters,
                upstream=upstream,
                downstream=downstream,
                kept=kept,
                expectations=expectations,
            )
    found += _unguarded(tree, chains, clusters, upstream, expectations)
    return sorted(set(found), key=lambda finding: finding.path)


def _chains(tree: list[Node]) -> Iterator[_Chain]:
    candidates = []
    for node in tree:
        filters = node.value.get("http_filters")
        # A pasted fragment (`--filter-only`) has no owner: its list is the document.
        if isinstance(filters, list):
            entries = [
                child
                for child in tree
                if child.parents[:1] == (node,) and ".http_filters[" in f".{child.path}"
            ]
            candidates.append((node, entries))
    fragments = [node for node in tree if not node.parents and node.path.startswith("[")]
    if fragments:
        candidates.append((fragments[0], fragments))
    named = any(_is_ours(entry, strictly=True) for _, entries in candidates for entry in entries)
    for owner, entries in candidates:
        for position, entry in enumerate(entries):
            if _is_ours(entry, strictly=named):
                upstream = owner.kind == "HttpProtocolOptions" or _ends_in_codec(entries)
                cluster = next((parent for parent in owner.parents if _is_cluster(parent)), owner)
                yield _Chain(cluster if upstream else owner, entries, position, upstream)


def _ends_in_codec(entries: list[Node]) -> bool:
    return _type(entries[-1]).endswith("UpstreamCodec")


def _is_ours(entry: Node, *, strictly: bool) -> bool:
    config = entry.value.get("typed_config")
    if not isinstance(config, dict) or not str(config.get("@type", "")).endswith(_EXT_PROC):
        return False
    return not strictly or _service_cluster(entry) == _OUR_CLUSTER


def _service_cluster(entry: Node) -> str:
    """Return the name of the cluster that an ext_proc filter calls."""
    service = entry.value["typed_config"].get("grpc_service")
    envoy_grpc = service.get("envoy_grpc") if isinstance(service, dict) else None
    return str(envoy_grpc.get("cluster_name")) if isinstance(envoy_grpc, dict) else ""


def _is_cluster(node: Node) -> bool:
    value = node.value
    return "name" in value and ("load_assignment" in value or "typed_extension_protocol_options" in value)


def _type(entry: Node) -> str:
    config = entry.value.get("typed_config")
    return str(config.get("@type", "")).rpartition("/")[2] if isinstance(config, dict) else ""


def _after_ours(chain: _Chain) -> Iterator[Finding]:
    for entry in chain.filters[chain.ours + 1 :]:
        if _type(entry) not in _HARMLESS_AFTER_OURS:
            name = entry.value.get("name", "?")
            yield Finding(entry.path, f"{name} runs after extproc and may change what was signed")


def _manager_findings(manager: Node) -> Iterator[Finding]:
    action = str(manager.value.get("path_with_escaped_slashes_action", ""))
    if action.startswith("UNESCAPE"):
        yield Finding(
            f"{manager.path}.path_with_escaped_slashes_action", f"{action} breaks encoded ARNs in paths"
        )
    listener = next((parent for parent in manager.parents if "filter_chains" in parent.value), None)
    if listener is not None and manager.value.get("rds"):
        yield Finding(f"{manager.path}.rds", "routes come from elsewhere: they cannot be checked here")


def _unguarded(
    tree: list[Node],
    chains: list[_Chain],
    clusters: dict[str, Node],
    upstream: set[str],
    expectations: Expectations,
) -> Iterator[Finding]:
    """Yield routes to a target in a connection manager without extproc's filter."""
    guarded = [chain.owner.path for chain in chains if not chain.upstream]
    for node in tree:
        manager = next((parent for parent in node.parents if parent.kind == "HttpConnectionManager"), None)
        cluster = node.value.get("cluster")
        if manager is None or manager.path in guarded or not isinstance(cluster, str) or cluster in upstream:
            continue
        if cluster in clusters and expectations.is_target(clusters[cluster]):
            yield Finding(
                f"{node.path}.cluster", f"{cluster} is reached without an ext_proc filter on the way"
            )
