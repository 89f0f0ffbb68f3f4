"""The clients, and what each takes to connect.

Sources: the clients' own documentation; docs/clients.md says which of them were tried.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from extproc.connect.endpoint import Endpoint
from extproc.connect.programs import program


def claude(endpoint: Endpoint) -> str:
    """Return the configuration of Claude Desktop, which starts mcp-remote."""
    return f"""\
# Claude Desktop: Settings, Developer, Edit Config (claude_desktop_config.json). It needs Node.js, and logs in
# when it starts. On claude.ai, add the URL as a custom connector, if it can be reached from the internet.
{_json({"mcpServers": {endpoint.name: endpoint.mcp_remote()}})}
"""


def claude_code(endpoint: Endpoint) -> str:
    """Return the commands for Claude Code."""
    name, known = endpoint.name, ""
    if endpoint.client_id is not None:
        known = f"--client-id {shlex.quote(endpoint.client_id)} --callback-port 8123 "
    return f"""\
# Claude Code: a browser opens. The redirect address with a client id is http://localhost:8123/callback.
claude mcp add --transport http {known}{name} {endpoint.quoted_url} && claude mcp login {name}
"""


def codex(endpoint: Endpoint) -> str:
    """Return the command for Codex, which logs in at once."""
    known = f" --oauth-client-id {shlex.quote(endpoint.client_id)}" if endpoint.client_id else ""
    return f"""\
# Codex: logs in at once; later: codex mcp login {endpoint.name}
codex mcp add {endpoint.name} --url {endpoint.quoted_url}{known}
"""


def cursor(endpoint: Endpoint) -> str:
    """Return the configuration of Cursor."""
    server: dict[str, Any] = {"url": endpoint.url}
    if endpoint.client_id is not None:
        server["auth"] = {"CLIENT_ID": endpoint.client_id}
    return f"""\
# Cursor: ~/.cursor/mcp.json, or .cursor/mcp.json in a project. It asks for a login when it connects.
{_json({"mcpServers": {endpoint.name: server}})}
"""


def inspector(endpoint: Endpoint) -> str:
    """Return the command for MCP Inspector with a token."""
    return f"""\
# MCP Inspector (Node.js 22): with an access token in TOKEN. Without arguments it has a page, which logs in.
npx -y @modelcontextprotocol/inspector --cli {endpoint.quoted_url} --transport http \\
  --method tools/list --header "Authorization: Bearer $TOKEN"
"""


def opencode(endpoint: Endpoint) -> str:
    """Return the commands for opencode, or its configuration with a client id."""
    if endpoint.client_id is None:
        return f"""\
# opencode 1 (2: log in with /mcps)
opencode mcp add {endpoint.name} --url {endpoint.quoted_url} && opencode mcp auth {endpoint.name}
"""
    server = {"type": "remote", "url": endpoint.url, "oauth": {"clientId": endpoint.client_id}}
    return f"""\
# opencode: opencode.json; then: opencode mcp auth {endpoint.name}
{_json({"mcp": {endpoint.name: server}})}
"""


def vscode(endpoint: Endpoint) -> str:
    """Return the configuration of VS Code."""
    server: dict[str, Any] = {"type": "http", "url": endpoint.url}
    if endpoint.client_id is not None:
        server["oauth"] = {"clientId": endpoint.client_id}
    return f"""\
# VS Code: .vscode/mcp.json. It asks for a login when the server starts.
{_json({"servers": {endpoint.name: server}})}
"""


def windsurf(endpoint: Endpoint) -> str:
    """Return the configuration of Windsurf; with a client id it starts mcp-remote."""
    server = {"serverUrl": endpoint.url} if endpoint.client_id is None else endpoint.mcp_remote()
    return f"""\
# Windsurf: ~/.codeium/windsurf/mcp_config.json; then refresh its list of MCP servers.
{_json({"mcpServers": {endpoint.name: server}})}
"""


def python(endpoint: Endpoint) -> str:
    """Return a program for the official Python SDK."""
    return program("login.py", endpoint)


def typescript(endpoint: Endpoint) -> str:
    """Return a program for the official TypeScript SDK."""
    return program("login.mjs", endpoint)


CLIENTS: Mapping[str, Callable[[Endpoint], str]] = MappingProxyType(
    {
        "claude": claude,
        "claude-code": claude_code,
        "codex": codex,
        "cursor": cursor,
        "inspector": inspector,
        "opencode": opencode,
        "python": python,
        "typescript": typescript,
        "vscode": vscode,
        "windsurf": windsurf,
    }
)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2)
