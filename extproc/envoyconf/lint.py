"""Find settings of an Envoy configuration that let requests out unsigned, or break signatures.

The tree is read without Envoy's message types, so that unknown extensions do not matter.
Not checked: resources that xDS delivers later, filters behind a matcher, and whether Envoy accepts
the configuration (``envoy --mode validate`` does that).
"""

from collections.abc import Iterator
from typing import Any

from extproc.envoyconf.lint_chains import (
    Chain,
    chains,
    is_cluster,
    listener_of,
    manager_of,
    rds_name,
    service_cluster,
    type_of,
)
from extproc.envoyconf.lint_cluster import extproc_cluster_findings
from extproc.envoyconf.lint_counted import keeps_streams
from extproc.envoyconf.lint_document import Node, effective, nodes
from extproc.envoyconf.lint_enabled import MAY_NOT_RUN
from extproc.envoyconf.lint_filter import filter_findings, per_route_findings
from extproc.envoyconf.lint_route import Surroundings, route_findings
from extproc.envoyconf.lint_values import Expectations, Finding

__all__ = ["CHECKED", "Expectations", "Finding", "findings"]

CHECKED = (
    "the filter fails closed, gets whole bodies, trailers and time enough, and its answers count",
    "nothing after it changes what was signed: filters, hosts, paths, headers, retries",
    "its cluster exists, has HTTP/2, and TLS on both sides or on none",
    "every route to a target has it, and no other route of its listener",
    "bodies up to extproc's limit fit into Envoy's buffers",
    "no address of the client's network reaches AWS, and no challenge of AWS reaches clients",
    "no timeout cuts event streams, and no retry repeats a call that AWS has carried out",
    "extproc's decision reaches the access log",
)
"""What ``findings`` looks at, for people."""

_NO_FILTER = (
    "no ext_proc filter: nothing is signed, and bearer tokens go upstream; "
    "`extproc envoy --config FILE --filter-only` prints it, if this is Envoy's configuration"
)

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


def findings(document: Any, expectations: Expectations) -> list[Finding]:
    """Return all findings, sorted by their paths."""
    document = effective(document)
    tree = list(nodes(document))
    all_chains = list(chains(tree))
    if not all_chains:
        return [Finding("document", _NO_FILTER)]
    found: list[Finding] = []
    configurations = {node.value.get("name") for node in tree if "virtual_hosts" in node.value}
    for chain in all_chains:
        found += filter_findings(chain.entry, expectations)
        found += _after_ours(chain)
        if not chain.upstream:
            found += _manager_findings(chain.owner, configurations)
    clusters = {str(node.value.get("name")): node for node in tree if is_cluster(node)}
    surroundings = Surroundings(
        tree=tree,
        clusters=clusters,
        chains={chain.owner.path: chain for chain in all_chains if not chain.upstream},
        upstream={str(chain.owner.value.get("name")) for chain in all_chains if chain.upstream},
        kept={
            place: all(
                keeps_streams(chain.entry.value["typed_config"])
                for chain in all_chains
                if chain.upstream is place
            )
            for place in (True, False)
        },
    )
    for name in {service_cluster(chain.entry) for chain in all_chains} - {""}:
        if name in clusters:
            found += extproc_cluster_findings(clusters[name], expectations)
        elif clusters and not _gets_clusters_elsewhere(tree):
            where = next(chain.entry.path for chain in all_chains if service_cluster(chain.entry) == name)
            found.append(
                Finding(
                    f"{where}.typed_config.grpc_service",
                    f"no cluster is named {name}: every request gets 500; write the one that "
                    "`extproc envoy --filter-only` prints",
                )
            )
    if not configurations or any(chain.upstream for chain in all_chains):
        found += [
            Finding(f"{chain.entry.path}.disabled", MAY_NOT_RUN) for chain in all_chains if chain.is_disabled
        ]
    for node in tree:
        found += per_route_findings(node)
        if "virtual_hosts" in node.value:
            found += route_findings(node, surroundings, expectations)
    found += _unguarded(surroundings, expectations)
    return sorted(set(found), key=lambda finding: finding.path)


def _gets_clusters_elsewhere(tree: list[Node]) -> bool:
    """Return whether a bootstrap names a source of clusters. A dump has all of them."""
    return any("cds_config" in node.value or "ads_config" in node.value for node in tree)


def _after_ours(chain: Chain) -> Iterator[Finding]:
    for entry in chain.filters[chain.ours + 1 :]:
        if type_of(entry) not in _HARMLESS_AFTER_OURS:
            name = entry.value.get("name", "?")
            yield Finding(entry.path, f"{name} runs after extproc and may change what was signed")


def _manager_findings(manager: Node, configurations: set[Any]) -> Iterator[Finding]:
    action = str(manager.value.get("path_with_escaped_slashes_action", ""))
    if action.startswith("UNESCAPE"):
        yield Finding(
            f"{manager.path}.path_with_escaped_slashes_action", f"{action} breaks encoded ARNs in paths"
        )
    if (
        listener_of(manager) is not None
        and manager.value.get("rds")
        and rds_name(manager) not in configurations
    ):
        yield Finding(f"{manager.path}.rds", "routes come from elsewhere: they cannot be checked here")


def _unguarded(surroundings: Surroundings, expectations: Expectations) -> Iterator[Finding]:
    """Yield routes to a target in a connection manager without extproc's filter."""
    clusters = surroundings.clusters
    for node in surroundings.tree:
        cluster = node.value.get("cluster")
        if not isinstance(cluster, str) or cluster in surroundings.upstream:
            continue
        if cluster not in clusters or not expectations.is_target(clusters[cluster]):
            continue
        manager = manager_of(node, surroundings.tree)
        if (
            manager is not None
            and manager.kind == "HttpConnectionManager"
            and manager.path not in surroundings.chains
        ):
            yield Finding(
                f"{node.path}.cluster", f"{cluster} is reached without an ext_proc filter on the way"
            )
