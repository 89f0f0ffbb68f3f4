"""The MCP message in a request's body, as far as rules read it.

https://modelcontextprotocol.io/specification: one JSON-RPC message a body since 2025-06-18.
From 2026-07-28 on headers repeat parts of the body, and whoever decides by either must make
sure that they are equal.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extproc import strictjson
from extproc.errors import Denied, Reason
from extproc.values import RequestHead

_MIRRORED_SINCE = "2026-07-28"  # revisions are dates, and compare as texts
_VERSION_MEMBER = "io.modelcontextprotocol/protocolVersion"
_ENCODED = re.compile(r"=\?base64\?(?P<payload>.*)\?=")
_MEMBERS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMETERS = frozenset({"name", "arguments", "uri", "_meta"})
# RFC 8259 8.1: JSON between systems is UTF-8. Any other parameter might change what is read.
_JSON_TYPE = re.compile(r"application/json(?: *; *charset=(?:utf-8|\"utf-8\"))? *", re.IGNORECASE | re.ASCII)
_NUL = b"\\u0000"
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_VARIABLE = {"tools/call": "tool", "prompts/get": "prompt", "resources/read": "resource"}

MEMBERS = frozenset({"method", "arguments", "protocol_version", "session_id", *_VARIABLE.values()})
"""What the variable ``mcp`` can have."""

MAX_CONTAINERS = 20_000
MAX_COMMAS = 50_000  # each value needs one; those in texts count too, hence the room
"""Brackets in a message. Each costs the event loop half a microsecond to read."""

JsonRpcId = str | int | None


@dataclass(frozen=True, slots=True)
class McpMessage:
    """One JSON-RPC message. ``name``: of the tool or prompt, or the resource's URI."""

    id: JsonRpcId
    method: str | None
    name: str | None
    arguments: Any = field(repr=False)
    protocol_version: str | None

    def variable(self, head: RequestHead) -> dict[str, Any]:
        """The variable ``mcp``; what the message does not have is missing in it."""
        members = {
            "method": self.method,
            "arguments": self.arguments,
            "protocol_version": self.protocol_version or _only_value(head, "mcp-protocol-version"),
            "session_id": _only_value(head, "mcp-session-id"),
        }
        if self.method in _VARIABLE:
            members[_VARIABLE[self.method]] = self.name
        return {name: value for name, value in members.items() if value is not None}


def check_form(head: RequestHead) -> None:
    """Refuse a head by which the upstream might read another message than the bytes of the body say.

    The body must be JSON in UTF-8, in no coding. Without a ``content-type`` there is no other
    charset to read it by (RFC 8259 8.1), so that is taken.

    Raises:
        Denied: ``MCP_MALFORMED``.
    """
    types = head.values("content-type")
    if len(types) > 1 or (types and not _JSON_TYPE.fullmatch(types[0])):
        raise Denied(
            Reason.MCP_MALFORMED, "content-type is not application/json, alone or with charset=utf-8"
        )
    if head.values("content-encoding"):
        raise Denied(Reason.MCP_MALFORMED, "the body has a content-encoding")
    if any(value.strip().lower() != "chunked" for value in head.values("transfer-encoding")):
        raise Denied(Reason.MCP_MALFORMED, "the body has a transfer coding")


def parse_message(body: bytes) -> McpMessage:
    """Parse a body.

    Raises:
        Denied: ``MCP_MALFORMED`` for batches, duplicate members and whatever has two readings.
    """
    if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS or body.count(b",") > MAX_COMMAS:
        raise Denied(Reason.MCP_MALFORMED, "too many values")
    try:
        message = strictjson.loads_object(body)
    except strictjson.AmbiguousJSONError as error:
        raise Denied(Reason.MCP_MALFORMED, str(error)) from None
    if _NUL in body and _has_nul(message):
        # Some programs end a string there, and would read "rm" where rules saw "rm\0".
        raise Denied(Reason.MCP_MALFORMED, "a string has the character U+0000")
    parameters = message.get("params", {})
    method, identifier = message.get("method"), message.get("id")
    if (
        not isinstance(parameters, dict)
        or not isinstance(method, str | None)
        or ("method" in message and method is None)
        or not isinstance(identifier, str | int | None)
        or isinstance(identifier, bool)
    ):
        raise Denied(Reason.MCP_MALFORMED, "not a JSON-RPC message")
    # Some parsers match names of members in any case; "Method" would be a second reading.
    if _looks_like_another(message, _MEMBERS) or _looks_like_another(parameters, _PARAMETERS):
        raise Denied(Reason.MCP_MALFORMED, "a member's name differs from a known one by case only")
    name = parameters.get(_NAMED_BY[method]) if method in _NAMED_BY else None
    if method in _NAMED_BY and not isinstance(name, str):
        raise Denied(Reason.MCP_MALFORMED, f"{method} without a name")
    meta = parameters.get("_meta")
    version = meta.get(_VERSION_MEMBER) if isinstance(meta, dict) else None
    return McpMessage(
        id=identifier,
        method=method,
        name=name,
        arguments=parameters.get("arguments"),
        protocol_version=version if isinstance(version, str) else None,
    )


def check_headers(message: McpMessage, head: RequestHead) -> None:
    """Refuse headers that say something else than the body.

    Raises:
        Denied: ``MCP_HEADERS_DIFFER``.
    """
    version = _only_value(head, "mcp-protocol-version")
    mirrored = max(version or "", message.protocol_version or "") >= _MIRRORED_SINCE
    if mirrored and message.id is not None and version != message.protocol_version:
        raise Denied(Reason.MCP_HEADERS_DIFFER, "MCP-Protocol-Version")
    expected = {"mcp-method": message.method, "mcp-name": message.name}
    for header, value in expected.items():
        sent = head.values(header)
        if not sent and (not mirrored or value is None):
            continue
        if len(sent) != 1 or value is None or _decoded(sent[0]) != value:
            raise Denied(Reason.MCP_HEADERS_DIFFER, header)


def _decoded(value: str) -> str | None:
    match = _ENCODED.fullmatch(value)
    if match is None:
        return value
    payload = match["payload"]
    try:
        decoded = base64.b64decode(payload, validate=True)
        # Only the one canonical spelling, so that no two headers mean the same.
        return decoded.decode("utf-8") if base64.b64encode(decoded).decode() == payload else None
    except (binascii.Error, ValueError):
        return None


def _has_nul(message: Mapping[str, Any]) -> bool:
    """Whether any string at any depth has it, names of members included."""
    waiting: list[Any] = [message]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if "\0" in value:
                return True
        elif isinstance(value, Mapping):
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False


def _looks_like_another(members: Mapping[str, Any], known: frozenset[str]) -> bool:
    return any(name not in known and name.casefold() in known for name in members)


def _only_value(head: RequestHead, name: str) -> str | None:
    values = head.values(name)
    if len(values) > 1:
        raise Denied(Reason.MCP_HEADERS_DIFFER, f"{name} is there twice")
    return values[0] if values else None
