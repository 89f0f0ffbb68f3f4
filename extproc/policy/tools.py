"""What is known of an MCP tool by its name: its annotations, and the AWS call that it is asked for.

``tools.json`` has the tools of the AWS MCP Server. The annotations in an answer to ``tools/list`` are not
used: they are the server's own claims (https://modelcontextprotocol.io/specification, "Tools").
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from extproc.policy.aws_cli.command import AwsCommand, parse
from extproc.policy.cel import Path

ANNOTATIONS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
"""Members of ``mcp.tool_annotations`` besides ``known``; the names are MCP's."""

COMMAND_MEMBERS = ("service", "operation", "region", "profile", "endpoint_url")
"""Members of ``mcp.aws`` besides ``known``."""

MEMBERS = frozenset({"aws", "tool_annotations"})
"""Members of the variable ``mcp`` that ``variables`` adds."""


def is_read(paths: Iterable[Path]) -> bool:
    """Return whether rules that read these members read any of ``MEMBERS``."""
    return any(path[:1] == ("mcp",) and (len(path) == 1 or path[1] in MEMBERS) for path in paths)


def variables(name: str, arguments: Any) -> dict[str, Any]:
    """Return ``MEMBERS`` for the call of a tool.

    ``mcp.aws`` is absent for tools that call no AWS operation. It has ``known: false`` and nothing else where
    the operation is unknown: for unknown tools, for scripts, and for anything but exactly one command.
    """
    tool = _tools().get(name)
    if tool is None:
        return {"aws": {"known": False}, "tool_annotations": {"known": False}}
    found: dict[str, Any] = {"tool_annotations": {"known": True, **tool["annotations"]}}
    if "command" in tool:
        found["aws"] = _aws(arguments.get(tool["command"]) if isinstance(arguments, dict) else None)
    elif tool.get("calls_aws"):
        found["aws"] = {"known": False}
    return found


def listed(name: str) -> dict[str, Any]:
    """Return ``MEMBERS`` for a call of a tool with unknown arguments: null where they determine a member."""
    found = variables(name, None)
    return {**found, "aws": None} if "command" in _tools().get(name, {}) else found


def _aws(line: Any) -> dict[str, Any]:
    command: AwsCommand | None = parse(line) if isinstance(line, str) else None
    if command is None:
        return {"known": False}
    members = {name: getattr(command, name) for name in COMMAND_MEMBERS}
    return {"known": True, **{name: value for name, value in members.items() if value is not None}}


@cache
def _tools() -> Mapping[str, Mapping[str, Any]]:
    document = json.loads((files(__package__ or "") / "tools.json").read_bytes())
    tools: Mapping[str, Mapping[str, Any]] = document["tools"]
    return tools
