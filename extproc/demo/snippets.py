"""Configuration of MCP clients for the running demo, to be pasted."""

from typing import Final

from extproc.connect.clients import CLIENTS
from extproc.connect.endpoint import Endpoint
from extproc.demo.idp_clients import PREREGISTERED

NAME: Final = "extproc-demo"
_SHOWN: Final = ("claude-code", "codex", "opencode", "vscode", "cursor", "windsurf", "claude", "inspector")
_ALSO_BY_ID: Final = ("claude-code", "codex")


def snippets(resource: str) -> str:
    """Return instructions for each client that docs/clients.md describes.

    Args:
        resource: the URL of the MCP endpoint.
    """
    client_id = PREREGISTERED.client_id
    endpoint = Endpoint(resource, name=NAME)
    known = Endpoint(resource, name=f"{NAME}-id", client_id=client_id)
    texts = [CLIENTS[client](endpoint) for client in _SHOWN]
    texts += [CLIENTS[client](known) for client in _ALSO_BY_ID]
    return f"""\
To connect an MCP client to {resource}, paste one of these. A browser opens; choose an account there.
No client needs an id; those who want to give one use {client_id}, as in the last two (docs/clients.md).

{chr(10).join(texts)}
# The official SDKs: programs that log in and list the tools (python needs pip install 'mcp>=2.3,<3')
extproc connect python --url {resource} > login.py && python3 login.py
extproc connect typescript --url {resource} > login.mjs && node login.mjs
"""
