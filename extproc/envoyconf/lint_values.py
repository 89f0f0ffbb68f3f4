"""What the lint says, and what it measures against."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extproc.envoyconf.lint_document import Node, nodes
from extproc.signing.hosts import infer_scope

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault; ``path`` leads to it in the document."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Expectations:
    """What extproc's own settings ask of Envoy; the defaults are those of a minimal configuration.

    ``seconds``: how long Envoy must wait for us. ``hosts``: the hosts that are signed, if known.
    ``private_network``: clear text to extproc is meant so. ``shows_answers``: extproc looks at answers.
    ``counted``: the hosts, by name, of targets whose open requests are counted.
    """

    seconds: float = 12.0
    body_bytes: int = 10 * _MIB
    hosts: frozenset[str] = frozenset()
    private_network: bool = False
    shows_answers: bool = False
    counted: Mapping[str, str] = field(default_factory=dict)

    def is_target(self, cluster: Node) -> bool:
        """Whether the cluster leads to a host that needs signatures."""
        names = cluster_hosts(cluster)
        return any(name in self.hosts or infer_scope(name) is not None for name in names)


def cluster_hosts(cluster: Node) -> set[str]:
    """The host names a cluster's endpoints and its SNI have."""
    names = set()
    for node in nodes(cluster.value):
        for key in ("sni", "address", "hostname"):
            value: Any = node.value.get(key)
            if isinstance(value, str):
                names.add(value)
    return names


def seconds(duration: Any) -> float | None:
    """A protobuf duration in JSON, like ``1.5s``."""
    try:
        return float(str(duration).removesuffix("s")) if str(duration).endswith("s") else None
    except ValueError:
        return None


def is_true(value: Any) -> bool:
    """A boolean, or its wrapper message as some tools print it."""
    return value is True or value == "true" or (isinstance(value, dict) and value.get("value") is True)
