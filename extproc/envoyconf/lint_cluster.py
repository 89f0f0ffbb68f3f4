"""Faults of the cluster of extproc: others may read or answer its messages."""

from collections.abc import Iterator
from typing import Any

from extproc.envoyconf.lint_document import Node, nodes
from extproc.envoyconf.lint_values import Expectations, Finding
from extproc.loopback import is_loopback

_VALIDATION = (
    "validation_context",
    "validation_context_sds_secret_config",
    "combined_validation_context",
)


def extproc_cluster_findings(cluster: Node, expectations: Expectations) -> Iterator[Finding]:
    """Yield clear text to another machine, and TLS without verification of the server."""
    if "transport_socket_matches" in cluster.value:
        return  # chosen by the endpoints' metadata
    socket = cluster.value.get("transport_socket")
    config = socket.get("typed_config") if isinstance(socket, dict) else None
    kind = str(config.get("@type", "")).rpartition(".")[2] if isinstance(config, dict) else ""
    if kind in ("", "RawBuffer"):
        remote = sorted(address for address in _addresses(cluster) if not _is_local(address))
        if remote and not expectations.private_network:
            yield Finding(
                cluster.path,
                f"clear text to {remote[0]}: bearer tokens and AWS credentials can be read on the way, "
                "unless the network is private (listen.insecure_plaintext)",
            )
    elif isinstance(config, dict) and kind == "UpstreamTlsContext" and not _validates(config):
        yield Finding(
            f"{cluster.path}.transport_socket", "without a validation context any server is taken for extproc"
        )


def _addresses(cluster: Node) -> set[str]:
    return {
        str(node.value["address"])
        for node in nodes(cluster.value.get("load_assignment"))
        if "address" in node.value and ("port_value" in node.value or "named_port" in node.value)
    }


def _is_local(address: str) -> bool:
    return is_loopback(address) or address in ("0.0.0.0", "::")  # noqa: S104 - looked for, not listened at


def _validates(config: dict[str, Any]) -> bool:
    tls = config.get("common_tls_context")
    return isinstance(tls, dict) and any(tls.get(key) for key in _VALIDATION)
