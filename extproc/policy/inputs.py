"""What a decision may depend on besides the claims: the request, and the MCP message in its body.

Only what some rule reads is looked at. ``decision_key`` holds exactly the values at the paths
that rules read, so equal keys of one identity mean equal decisions.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from extproc.header_names import CREDENTIALS
from extproc.policy.cel import Path
from extproc.policy.mcp import McpMessage
from extproc.values import RequestHead

REQUEST_MEMBERS = frozenset({"method", "path", "host", "headers", "target"})
"""What the variable ``request`` has."""

_SHORT = 128  # characters; longer texts are kept as their hash
_ABSENT = ("absent",)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The variables ``request`` and ``mcp``; empty where no rule reads them or there is no body."""

    request: Mapping[str, Any] = field(default_factory=dict, repr=False)
    mcp: Mapping[str, Any] = field(default_factory=dict, repr=False)
    message: McpMessage | None = None


NO_INPUTS = Inputs()


def is_hidden(name: str) -> bool:
    """Whether ``request.headers`` never has the name."""
    return name in CREDENTIALS or name.startswith("x-amz-") or name != name.lower()


def request_variable(head: RequestHead, *, path: str, target: str) -> dict[str, Any]:
    """The variable ``request``. ``path``: as it goes upstream. Repeated headers are joined by a comma.

    Everything but ``target`` is the client's word.
    """
    headers: dict[str, str] = {}
    for name, value in head.headers:
        if is_hidden(name):
            continue
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return {
        "method": head.method,
        "path": path,
        "host": head.authority.lower(),
        "headers": headers,
        "target": target,
    }


def decision_key(inputs: Inputs, paths: Iterable[Path]) -> tuple[object, ...]:
    """The values at ``paths`` in a hashable form that tells types apart."""
    variables = {"request": inputs.request, "mcp": inputs.mcp}
    return tuple(_at(variables, path) for path in paths)


def read_members(value: Any, paths: Collection[Path]) -> Any:
    """Return of a value what is at ``paths``, so that nothing counts that ``decision_key`` does not hold."""
    if () in paths or not isinstance(value, Mapping):
        return value
    names = {path[0] for path in paths}
    return {
        name: read_members(member, {path[1:] for path in paths if path[0] == name})
        for name, member in value.items()
        if name in names
    }


def _at(value: Any, path: Path) -> object:
    for depth, name in enumerate(path):
        if not isinstance(value, Mapping):
            return (depth, _fixed(value))  # a member of what has none: an error, and one of its own
        if name not in value:
            return (depth, _ABSENT)
        value = value[name]
    return _fixed(value)


def _fixed(value: Any) -> object:
    if isinstance(value, str) and len(value) <= _SHORT:
        return value
    # JSON tells 1, 1.0, true and "1" apart, which Python's equality does not.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return (text,) if len(text) <= _SHORT else hashlib.sha256(text.encode()).digest()
