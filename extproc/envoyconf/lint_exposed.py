"""What a route shows to AWS and to clients, and what cuts or repeats its requests."""

from collections.abc import Iterator
from typing import Any

from extproc.envoyconf.lint_document import Node, nodes
from extproc.envoyconf.lint_values import Finding, is_true, seconds

_ENVOY_TIMEOUT = "15s"  # of a route, by default
# Written by Envoy, or passed on from clients and proxies. Fewer than the renderer removes: these tell about
# networks and certificates, and API gateways for Kubernetes can remove sixteen.
_TRACES = (
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto",
    "x-forwarded-client-cert", "x-envoy-external-address", "x-envoy-internal",
)  # fmt: skip
_BY_ROUTER = "x-envoy-expected-rq-timeout-ms"
_REPEATING = frozenset(
    {"5xx", "gateway-error", "reset", "retriable-4xx", "retriable-headers", "retriable-status-codes"}
)


def exposed_findings(route: Node, manager: Node | None) -> Iterator[Finding]:
    """Yield the findings for one route with extproc's filter."""
    configuration = next((holder for holder in route.parents if "virtual_hosts" in holder.value), route)
    removed = _names(route, manager, "request_headers_to_remove")
    wanted = (*_TRACES, *([] if _is_quiet(manager) else [_BY_ROUTER]))
    missing = [name for name in wanted if name not in removed]
    if missing:
        yield Finding(
            f"{configuration.path}.request_headers_to_remove",
            f"{', '.join(missing)}: reach AWS, and tell about your network; write these names here",
        )
    if "www-authenticate" not in _names(route, manager, "response_headers_to_remove"):
        yield Finding(
            f"{configuration.path}.response_headers_to_remove",
            "AWS's www-authenticate reaches clients and sends them to another authorization server; "
            "write www-authenticate here",
        )
    yield from _cuts(route)


def _names(route: Node, manager: Node | None, key: str) -> set[str]:
    """Return the headers that a route removes, by itself or by filters that change headers."""
    names: set[str] = set()
    for holder in (route, *route.parents):
        names.update(str(name).lower() for name in holder.value.get(key) or [])
    kind = "request_mutations" if key.startswith("request") else "response_mutations"
    for node in nodes(manager.value.get("http_filters") if manager else None):
        mutations = node.value.get(kind)
        for mutation in mutations if isinstance(mutations, list) else []:
            if isinstance(mutation, dict) and isinstance(mutation.get("remove"), str):
                names.add(mutation["remove"].lower())
    return names


def _is_quiet(manager: Node | None) -> bool:
    """Return whether the router adds no headers of its own. A fragment shows no router."""
    routers = [
        node
        for node in nodes(manager.value.get("http_filters") if manager else None)
        if node.kind == "Router"
    ]
    return all(is_true(router.value.get("suppress_envoy_headers")) for router in routers)


def _cuts(route: Node) -> Iterator[Finding]:
    action: dict[str, Any] = route.value["route"]
    timeout = action.get("timeout", _ENVOY_TIMEOUT)
    if seconds(timeout) != 0:
        shown = timeout if "timeout" in action else f"missing, so {_ENVOY_TIMEOUT}"
        yield Finding(
            f"{route.path}.route.timeout", f"{shown}: cuts event streams and long answers; write timeout: 0s"
        )
    longest = action.get("max_stream_duration")
    longest = longest.get("max_stream_duration") if isinstance(longest, dict) else None
    if longest is not None and seconds(longest) != 0:
        yield Finding(f"{route.path}.route.max_stream_duration", f"{longest}: cuts event streams; remove it")


def repeats(policy: object) -> str | None:
    """Return the condition of a retry policy that may repeat a request that AWS has carried out."""
    conditions = str(policy.get("retry_on", "")) if isinstance(policy, dict) else ""
    return next((name for name in conditions.replace(" ", "").split(",") if name in _REPEATING), None)
