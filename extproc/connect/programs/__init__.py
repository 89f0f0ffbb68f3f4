"""Programs that log in with the official SDKs, with an endpoint filled in."""

import json
from importlib import resources

from extproc.connect.endpoint import Endpoint

# The lines of the programs that an endpoint replaces: their defaults, for the demo.
_DEFAULTS = {
    "login.py": ('URL = "http://localhost:10000/mcp"\n', "CLIENT_ID: str | None = None\n"),
    "login.mjs": ('const URL_DEFAULT = "http://localhost:10000/mcp";\n', "const CLIENT_ID = undefined;\n"),
}


def program(name: str, endpoint: Endpoint) -> str:
    """Return a program that connects to the endpoint when it is started without arguments."""
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    for line, value in zip(_DEFAULTS[name], (endpoint.url, endpoint.client_id), strict=True):
        if value is not None:
            declared = line.rpartition(" = ")[0]
            end = ";\n" if line.endswith(";\n") else "\n"
            # A JSON string of ASCII is a literal of Python and JavaScript too.
            text = text.replace(line, f"{declared} = {json.dumps(value)}{end}")
    return text
