"""Where extproc's filter runs: routes that go to AWS without it, and others that it refuses."""

from collections.abc import Iterator
from typing import Any

from extproc.envoyconf.lint_chains import Chain
from extproc.envoyconf.lint_document import Node, nodes
from extproc.envoyconf.lint_values import Expectations, Finding, is_true
from extproc.grpc_server.service_names import TARGET_METADATA
from extproc.signing.hosts import infer_scope

MAY_NOT_RUN = "the filter may not run: requests would go out unsigned, with their bearer token"


def runs(route: Node, chain: Chain) -> bool:
    """Return whether the filter runs for a route; the most specific of Envoy's levels takes precedence.

    A filter that is disabled by default must be enabled by a ``FilterConfig``.
    """
    for _, config in _levels(route, chain):
        if is_true(config.get("disabled")):
            return False
        if not chain.is_disabled or str(config.get("@type", "")).endswith(".FilterConfig"):
            return True
    return not chain.is_disabled


def _levels(route: Node, chain: Chain) -> Iterator[tuple[Node, dict[str, Any]]]:
    """Yield what configures the filter for a route, and where; the most specific first."""
    for holder in (route, *route.parents):
        configs = holder.value.get("typed_per_filter_config")
        config = configs.get(chain.name) if isinstance(configs, dict) else None
        if isinstance(config, dict):
            yield holder, config


def is_other(route: Node, clusters: list[Node], expectations: Expectations) -> bool:
    """Return whether a route certainly leads to no target. Only the settings name all targets."""
    action = route.value["route"]
    host = action.get("host_rewrite_literal")
    return (
        bool(expectations.hosts)
        and bool(clusters)
        and not any(expectations.is_target(cluster) for cluster in clusters)
        and host not in expectations.hosts
        and (host is None or infer_scope(str(host)) is None)
        and not any(entry.get("key") == TARGET_METADATA for entry in _metadata(route))
    )


def _metadata(route: Node) -> Iterator[dict[str, Any]]:
    for node in nodes(route.value.get("typed_per_filter_config") or {}):
        for entry in node.value.get("grpc_initial_metadata") or []:
            if isinstance(entry, dict):
                yield entry


def enabled_findings(
    route: Node, clusters: list[Node], chain: Chain, expectations: Expectations
) -> Iterator[Finding]:
    """Yield a target's route without the filter, and another route with it."""
    does_run, other = runs(route, chain), is_other(route, clusters, expectations)
    if does_run and other:
        name = clusters[0].value.get("name")
        yield Finding(
            route.path,
            f"leads to {name}, which is no target: clients without a token get 401, others an error; "
            f"write typed_per_filter_config: {{{chain.name}: {{'@type': "
            "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute, disabled: true}}",
        )
    elif not other:
        # On any level: to rely on Envoy's order of levels would be a trap for the next change.
        disabling = [
            holder.path for holder, config in _levels(route, chain) if is_true(config.get("disabled"))
        ]
        for path in disabling:
            yield Finding(
                f"{path}.typed_per_filter_config[{chain.name}].disabled",
                "requests of this route go out unsigned, with their bearer token",
            )
        if not does_run and not disabling:
            yield Finding(f"{chain.entry.path}.disabled", f"{MAY_NOT_RUN}: {route.path} does not enable it")
