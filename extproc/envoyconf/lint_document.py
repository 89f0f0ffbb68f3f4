"""Read any Envoy configuration as a tree: bootstrap, fragment or config_dump, YAML or JSON."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from extproc.libyaml import SafeLoader

_EXPECTED = "a bootstrap or a /config_dump is expected, as `extproc envoy --config` prints one"
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_IDENTIFIER = re.compile(r"[a-z]+[A-Za-z0-9]*")


class UnreadableError(ValueError):
    """The file is not a YAML or JSON mapping or list."""


@dataclass(frozen=True, slots=True)
class Node:
    """A mapping in the tree; ``parents`` are the mappings around it, the nearest first."""

    path: str
    value: dict[str, Any]
    parents: tuple["Node", ...] = ()

    @property
    def kind(self) -> str:
        """Return the last part of the message's type; empty without a type."""
        return str(self.value.get("@type", "")).rpartition(".")[2]


def load(path: Path) -> Any:
    """Read a file, as ``parse`` does.

    Raises:
        UnreadableError: the file cannot be read, or is not a configuration.
    """
    try:
        return parse(path.read_bytes())
    except OSError as error:
        cause = error.strerror or "cannot be read"
        raise UnreadableError(f"{cause}; name a file, or the URL of Envoy's admin interface") from None


def parse(content: bytes) -> Any:
    """Read a document; keys in JSON's camelCase become snake_case.

    Raises:
        UnreadableError: it is not a configuration.
    """
    try:
        # JSON is nearly a subset of YAML: tabs between tokens are the exception that occurs.
        documents = list(yaml.load_all(content.decode().replace("\t", " "), SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UnreadableError(f"not valid YAML or JSON; {_EXPECTED}") from None
    document = documents[0] if len(documents) == 1 else documents
    if not isinstance(document, dict | list) or not document:
        raise UnreadableError(f"not an Envoy configuration; {_EXPECTED}")
    return _snake(document)


def effective(document: Any) -> Any:
    """Return a dump without its bootstrap, whose resources the dump has a second time."""
    configs = document.get("configs") if isinstance(document, dict) else None
    if not isinstance(configs, list):
        return document
    kinds = [
        str(entry.get("@type", "")).rpartition(".")[2] if isinstance(entry, dict) else "" for entry in configs
    ]
    if not {"ClustersConfigDump", "ListenersConfigDump"} <= set(kinds):
        return document
    # The positions stay, so that paths are those of the document.
    kept = [
        {} if kind == "BootstrapConfigDump" else entry for kind, entry in zip(kinds, configs, strict=True)
    ]
    return {**document, "configs": kept}


def _snake(node: Any) -> Any:
    if isinstance(node, dict):
        return {_snake_key(str(key)): _snake(child) for key, child in node.items()}
    return [_snake(child) for child in node] if isinstance(node, list) else node


def _snake_key(key: str) -> str:
    return _CAMEL.sub(r"_\1", key).lower() if _IDENTIFIER.fullmatch(key) else key


def nodes(tree: Any, path: str = "", parents: tuple[Node, ...] = ()) -> Iterator[Node]:
    """Yield every mapping of the tree, outer ones first."""
    if isinstance(tree, dict):
        node = Node(path or "document", tree, parents)
        yield node
        for key, child in tree.items():
            inner = f"{path}.{key}" if path else key
            yield from nodes(
                child, inner if re.fullmatch(r"[\w@]+", key) else f"{path}[{key}]", (node, *parents)
            )
    elif isinstance(tree, list):
        for position, child in enumerate(tree):
            yield from nodes(child, f"{path}[{position}]", parents)
