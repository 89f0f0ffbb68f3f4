"""The inputs of a decision besides the claims: the request and the MCP message in its body.

Only members that some rule reads are used. ``decision_key`` contains exactly the values at the paths
that rules read, so for one identity equal keys mean equal decisions.
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
"""Members of the variable ``request``."""

_LONGEST_KEPT = 128  # characters; of a longer value its hash is kept
_ABSENT = ("absent",)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The variables ``request`` and ``mcp``; empty if no rule reads them, ``mcp`` also without a body.

    Attributes:
        now: seconds since the epoch, if some mapping counts for a time; None if unknown.
        reason: the reason for a break-glass mapping, if there is one.
    """

    request: Mapping[str, Any] = field(default_factory=dict, repr=False)
    mcp: Mapping[str, Any] = field(default_factory=dict, repr=False)
    message: McpMessage | None = None
    now: float | None = None
    reason: str | None = field(default=None, repr=False)


NO_INPUTS = Inputs()


def is_hidden(name: str) -> bool:
    """Return whether a header is left out of ``request.headers``."""
    return name in CREDENTIALS or name.startswith("x-amz-") or name != name.lower()


def request_variable(head: RequestHead, *, path: str, target: str) -> dict[str, Any]:
    """Return the variable ``request``; ``path`` is the one that goes upstream.

    The values of a repeated header are joined by a comma. The client chooses everything but ``target``.
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
    """Return the values at ``paths`` in a hashable form that distinguishes types."""
    variables = {"request": inputs.request, "mcp": inputs.mcp}
    return tuple(_at(variables, path) for path in paths)


def read_members(value: Any, paths: Collection[Path]) -> Any:
    """Return the parts of a value at ``paths``: rules must not depend on more than ``decision_key`` has."""
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
            return (
                depth,
                _fixed(value),
            )  # a member of a value without members: an error that depends on the value
        if name not in value:
            return (depth, _ABSENT)
        value = value[name]
    return _fixed(value)


def _fixed(value: Any) -> object:
    if isinstance(value, str) and len(value) <= _LONGEST_KEPT:
        return value
    # JSON distinguishes 1, 1.0, true and "1"; Python's equality does not.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return (text,) if len(text) <= _LONGEST_KEPT else hashlib.sha256(text.encode()).digest()
