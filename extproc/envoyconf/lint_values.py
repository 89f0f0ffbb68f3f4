"""The findings of the lint, and the expectations that it compares with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extproc.envoyconf.lint_document import Node, nodes
from extproc.signing.hosts import infer_scope

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, with its path in the document."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Expectations:
    """Requirements of extproc's settings on Envoy; the defaults are those of a minimal configuration.

    Attributes:
        seconds: how long Envoy must wait for extproc.
        body_bytes: the largest request body.
        hosts: the hosts that are signed; empty if they are not known.
        private_network: whether clear text to extproc is intended.
        shows_answers: whether extproc reads responses.
        server_tls: whether extproc's listener has TLS; None if that is not known.
        client_certificate: whether Envoy needs a certificate for extproc.
        verified_by_envoy: whether extproc relies on the jwt_authn filter for an issuer.
        filtered: names of targets whose lists of tools are filtered.
        counted: hosts of targets whose open requests are counted, by the target's name.
    """

    seconds: float = 12.0
    body_bytes: int = 10 * _MIB
    hosts: frozenset[str] = frozenset()
    private_network: bool = False
    shows_answers: bool = False
    server_tls: bool | None = None
    client_certificate: bool = False
    verified_by_envoy: bool = False
    filtered: tuple[str, ...] = ()
    counted: Mapping[str, str] = field(default_factory=dict)

    def is_target(self, cluster: Node) -> bool:
        """Return whether the cluster leads to a host that needs signatures."""
        names = cluster_hosts(cluster)
        return any(name in self.hosts or infer_scope(name) is not None for name in names)


def cluster_hosts(cluster: Node) -> set[str]:
    """Return the host names of a cluster's endpoints and its SNI."""
    names = set()
    for node in nodes(cluster.value):
        for key in ("sni", "address", "hostname"):
            value: Any = node.value.get(key)
            if isinstance(value, str):
                names.add(value)
    return names


def seconds(duration: Any) -> float | None:
    """Return the seconds in a protobuf duration in JSON, like ``1.5s``; None for any other value."""
    try:
        return float(str(duration).removesuffix("s")) if str(duration).endswith("s") else None
    except ValueError:
        return None


def is_true(value: Any) -> bool:
    """Return whether a value is true: a boolean, a string, or the wrapper message that some tools print."""
    return value is True or value == "true" or (isinstance(value, dict) and value.get("value") is True)
