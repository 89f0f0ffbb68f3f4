"""Configuration of MCP clients for the running demo, to be pasted."""

import json
from typing import Any, Final

from extproc.demo.idp_clients import PREREGISTERED

NAME: Final = "extproc-demo"


def snippets(resource: str) -> str:
    """Return instructions for each client that docs/clients.md describes.

    Args:
        resource: the URL of the MCP endpoint.
    """
    client_id = PREREGISTERED.client_id
    static = json.dumps({"client_id": client_id})
    return f"""\
To connect an MCP client to {resource}, paste one of these. A browser opens; choose an account there.
No client needs an id; those who want to give one use {client_id}. More in docs/clients.md.

# Claude Code (the second line: with a client id)
claude mcp add --transport http {NAME} {resource} && claude mcp login {NAME}
claude mcp add --transport http --client-id {client_id} --callback-port 8123 {NAME}-id {resource}

# Codex, which logs in at once (the second line: with a client id)
codex mcp add {NAME} --url {resource}
codex mcp add {NAME}-id --url {resource} --oauth-client-id {client_id}

# opencode 1 (2: log in with /mcps)
opencode mcp add {NAME} --url {resource} && opencode mcp auth {NAME}

# VS Code: .vscode/mcp.json
{_json({"servers": {NAME: {"type": "http", "url": resource}}})}

# Cursor: .cursor/mcp.json
{_json({"mcpServers": {NAME: {"url": resource}}})}

# Clients that start a program (Claude Desktop and others), by mcp-remote; the second line tries it by itself
{_json({"mcpServers": {NAME: {"command": "npx", "args": ["-y", "mcp-remote", resource]}}})}
npx -y -p mcp-remote mcp-remote-client {resource} --static-oauth-client-info '{static}'

# MCP Inspector (Node.js 22): with a TOKEN as below; or start it without arguments, for its page
npx -y @modelcontextprotocol/inspector --cli {resource} --transport http \\
  --method tools/call --tool-name whoami --header "Authorization: Bearer $TOKEN"

# fastmcp (Python: pip install fastmcp)
python3 - <<'END'
import asyncio
from fastmcp import Client

async def main():
    async with Client("{resource}", auth="oauth") as client:
        print(await client.call_tool("whoami", {{}}))

asyncio.run(main())
END

python3 docs/clients/login.py {resource}
"""


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value)
