"""The endpoint that a client connects to, and how it is named there."""

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,2000}")  # RFC 6749 appendix A.1, without spaces
_URL = re.compile(r"https?://[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")  # RFC 3986 2


class EndpointError(ValueError):
    """A URL, name or client id that no client takes."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An MCP endpoint.

    Attributes:
        url: its URL, the ``resource.url`` of the configuration.
        name: what the client calls it.
        client_id: a public client of the identity provider; None lets the client get an id by itself.
    """

    url: str
    name: str = "aws"
    client_id: str | None = None

    def __post_init__(self) -> None:
        if not _URL.fullmatch(self.url):
            raise EndpointError("the URL must be an http(s) URL of printable ASCII characters")
        if not _NAME.fullmatch(self.name):
            raise EndpointError("the name must be of at most 64 letters, digits, - and _")
        if self.client_id is not None and not _CLIENT_ID.fullmatch(self.client_id):
            raise EndpointError("the client id must be of printable ASCII characters")

    @property
    def quoted_url(self) -> str:
        """The URL as one word of a POSIX shell."""
        return shlex.quote(self.url)

    def mcp_remote(self) -> dict[str, Any]:
        """Return the program with which clients connect that can only start programs."""
        arguments = ["-y", "mcp-remote", self.url]
        if self.client_id is not None:
            arguments += ["--static-oauth-client-info", json.dumps({"client_id": self.client_id})]
        return {"command": "npx", "args": arguments}
