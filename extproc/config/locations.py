"""Where in a file a problem is: ``path: message`` becomes ``path: message (file:line:column)``."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from extproc.config.errors import ConfigError, Position

_PATH = re.compile(r"[A-Za-z_][\w-]*(?:\[[0-9]+\]|\.[\w:/*@-]+)*(?=[.:\[]|$)")
_STEP = re.compile(r"\[([0-9]+)\]|\.?([^.\[\]]+)")


@contextlib.contextmanager
def located(file: Path, text: str) -> Iterator[None]:
    """Add the place in the file to the problems of a ``ConfigError``, once."""
    try:
        yield
    except ConfigError as error:
        if error.located:
            raise
        root = _root(text)
        found = [(problem, error.position or _position(root, problem)) for problem in error.problems]
        raise ConfigError(
            [f"{problem} ({_place(file, position)})" for problem, position in found], located=True
        ) from None


def _place(file: Path, position: Position | None) -> str:
    return str(file) if position is None else f"{file}:{position.line}:{position.column}"


def _root(text: str) -> yaml.Node | None:
    """Return the nodes of a file with one document; None for another one."""
    try:
        node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return node


def _position(root: yaml.Node | None, problem: str) -> Position | None:
    """Return where a problem's path leads, as far as it exists."""
    path = _PATH.match(problem)
    if root is None or path is None:
        return None
    found, node = root.start_mark, root
    for index, key in _STEP.findall(path[0]):
        child = _element(node, int(index)) if index else _value(node, key)
        if child is None:
            break
        found, node = child
    return Position(found.line + 1, found.column + 1)


def _element(node: yaml.Node, index: int) -> tuple[yaml.Mark, yaml.Node] | None:
    if not isinstance(node, yaml.SequenceNode) or index >= len(node.value):
        return None
    element: yaml.Node = node.value[index]
    return element.start_mark, element


def _value(node: yaml.Node, key: str) -> tuple[yaml.Mark, yaml.Node] | None:
    """Return the place of a key, and its value."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return name.start_mark, value
    return None
