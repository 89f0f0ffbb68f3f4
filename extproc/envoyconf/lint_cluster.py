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
    """Yield a cluster without HTTP/2, clear text to another machine, and TLS that one side lacks."""
    if not _has_http2(cluster):
        yield Finding(
            cluster.path,
            "no HTTP/2, which gRPC needs: every request gets 500; write typed_extension_protocol_options: "
            "{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {'@type': type.googleapis.com/"
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions, "
            "explicit_http_config: {http2_protocol_options: {}}}}",
        )
    if "transport_socket_matches" in cluster.value:
        return  # chosen by the endpoints' metadata
    socket = cluster.value.get("transport_socket")
    config = socket.get("typed_config") if isinstance(socket, dict) else None
    kind = str(config.get("@type", "")).rpartition(".")[2] if isinstance(config, dict) else ""
    if kind in ("", "RawBuffer"):
        yield from _clear_text(cluster, expectations)
    elif isinstance(config, dict) and kind == "UpstreamTlsContext":
        yield from _tls(cluster, config, expectations)


def _clear_text(cluster: Node, expectations: Expectations) -> Iterator[Finding]:
    remote = sorted(address for address in _addresses(cluster) if not _is_local(address))
    if expectations.server_tls:
        yield Finding(
            cluster.path,
            "clear text, and extproc has listen.tls: no stream is opened; write the transport_socket that "
            "`extproc envoy` prints",
        )
    elif remote and not expectations.private_network:
        yield Finding(
            cluster.path,
            f"clear text to {remote[0]}: bearer tokens and AWS credentials can be read on the way, "
            "unless the network is private (listen.insecure_plaintext)",
        )


def _tls(cluster: Node, config: dict[str, Any], expectations: Expectations) -> Iterator[Finding]:
    path = f"{cluster.path}.transport_socket"
    if not _validates(config):
        yield Finding(path, "without a validation context any server is taken for extproc")
    if expectations.server_tls is False:
        yield Finding(
            path,
            "TLS, and extproc has no listen.tls: no stream opens, unless a proxy before extproc ends TLS; "
            "set listen.tls, or remove this",
        )
    tls = config.get("common_tls_context")
    has_certificate = isinstance(tls, dict) and any(key.startswith("tls_certificate") for key in tls)
    if expectations.client_certificate and not has_certificate:
        yield Finding(
            path,
            "no certificate of Envoy's, and extproc has listen.tls.client_ca: write tls_certificates, as "
            "`extproc envoy --extproc-cert F --extproc-key F` prints them",
        )


def _has_http2(cluster: Node) -> bool:
    """Return whether a cluster speaks HTTP/2: always, or as ALPN or the client's protocol decide."""
    if "http2_protocol_options" in cluster.value:
        return True
    options = cluster.value.get("typed_extension_protocol_options")
    return any(
        "http2_protocol_options" in node.value or "auto_config" in node.value for node in nodes(options)
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
