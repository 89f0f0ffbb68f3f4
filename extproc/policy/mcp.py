"""The MCP message in a request's body, as far as rules read it.

https://modelcontextprotocol.io/specification: one JSON-RPC message in a body since 2025-06-18. From
2026-07-28 on headers repeat parts of the body; who decides by either must check that they are equal.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from extproc import strictjson
from extproc.errors import Denied, Reason
from extproc.policy import tools
from extproc.values import RequestHead

SUPPORTED_VERSIONS = ("2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Revisions whose messages rules can read. An unknown one may have the tool's name elsewhere."""

_STATELESS_VERSIONS = SUPPORTED_VERSIONS[:1]  # each request says its version, and headers repeat the body
_VERSION_MEMBER = "io.modelcontextprotocol/protocolVersion"
_REQUIRED_META = (_VERSION_MEMBER, "io.modelcontextprotocol/clientCapabilities")
_LONGEST_VERSION = 64  # characters that an error repeats
_ENCODED = re.compile(r"=\?base64\?(?P<payload>.*)\?=")
_MEMBERS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMETERS = frozenset({"name", "arguments", "uri", "_meta"})
# RFC 8259 8.1: JSON between systems is UTF-8. Any other parameter might change what is read.
_JSON_TYPE = re.compile(r"application/json(?: *; *charset=(?:utf-8|\"utf-8\"))? *", re.IGNORECASE | re.ASCII)
_NUL = b"\\u0000"
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_VARIABLE = {"tools/call": "tool", "prompts/get": "prompt", "resources/read": "resource"}

MEMBERS = frozenset(
    {"method", "arguments", "protocol_version", "session_id", *_VARIABLE.values(), *tools.MEMBERS}
)
"""Members of the variable ``mcp``."""

MAX_CONTAINERS = 20_000
MAX_COMMAS = 50_000  # one for each value; the limit is higher since those in strings count, too
"""Limits of a message: reading one value takes the event loop half a microsecond."""

JsonRpcId = str | int | None


@dataclass(frozen=True, slots=True)
class McpMessage:
    """One JSON-RPC message.

    Attributes:
        id: the id of a request or response.
        method: the method of a request or notification.
        name: the name of the tool or prompt, or the resource's URI.
        arguments: the arguments of the tool or prompt.
        protocol_version: the revision in ``_meta``.
        missing_meta: members of ``_meta`` that requests need from 2026-07-28 on and that are missing.
    """

    id: JsonRpcId
    method: str | None
    name: str | None
    arguments: Any = field(repr=False)
    protocol_version: str | None
    missing_meta: tuple[str, ...] = ()

    def variable(self, head: RequestHead, *, with_tool: bool = False) -> dict[str, Any]:
        """Return the variable ``mcp``, without the members that the message does not have.

        ``with_tool`` adds what is known of the tool: only rules that read it should pay for it.
        """
        members = {
            "method": self.method,
            "arguments": self.arguments,
            "protocol_version": self.protocol_version or _only_value(head, "mcp-protocol-version"),
            "session_id": _only_value(head, "mcp-session-id"),
        }
        if self.method in _VARIABLE:
            members[_VARIABLE[self.method]] = self.name
        if with_tool and self.method == "tools/call" and self.name is not None:
            members |= tools.variables(self.name, self.arguments)
        return {name: value for name, value in members.items() if value is not None}


def check_form(head: RequestHead) -> None:
    """Refuse a head that might make the upstream read another message from the same bytes.

    The body must be JSON in UTF-8, without a coding. A missing ``content-type`` is accepted, since it
    implies no other charset (RFC 8259 8.1).

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
        Denied: ``MCP_NOT_JSON``, ``MCP_PARAMS_INVALID``, or ``MCP_MALFORMED`` for batches, duplicate
            members and any other ambiguity.
    """
    if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS or body.count(b",") > MAX_COMMAS:
        raise Denied(Reason.MCP_MALFORMED, "too many values")
    try:
        message = strictjson.loads_object(body)
    except strictjson.NotJSONError as error:
        raise Denied(Reason.MCP_NOT_JSON, str(error)) from None
    except strictjson.AmbiguousJSONError as error:
        raise Denied(Reason.MCP_MALFORMED, str(error)) from None
    if _NUL in body and _has_nul(message):
        # Some programs end a string there: they would read "rm" where rules saw "rm\0".
        raise Denied(Reason.MCP_MALFORMED, "a string has the character U+0000")
    # Some parsers ignore the case of members' names: "Method" would be a second method.
    if _looks_like_another(message, _MEMBERS):
        raise Denied(Reason.MCP_MALFORMED, "a member's name differs from a known one by case only")
    parameters = message.get("params", {})
    if not _is_message(message) or not isinstance(parameters, dict):
        raise Denied(Reason.MCP_MALFORMED, "not a JSON-RPC message")
    if _looks_like_another(parameters, _PARAMETERS):
        raise Denied(Reason.MCP_MALFORMED, "a parameter's name differs from a known one by case only")
    method = message.get("method")
    name = parameters.get(_NAMED_BY[method]) if method in _NAMED_BY else None
    if method in _NAMED_BY and not isinstance(name, str):
        raise Denied(Reason.MCP_PARAMS_INVALID, f"{method} without {_NAMED_BY[method]}")
    meta = parameters.get("_meta")
    members = meta if isinstance(meta, dict) else {}
    version = members.get(_VERSION_MEMBER)
    if not isinstance(version, str | None):
        raise Denied(Reason.MCP_PARAMS_INVALID, f"{_VERSION_MEMBER} is not a string")
    return McpMessage(
        id=message.get("id"),
        method=method,
        name=name,
        arguments=parameters.get("arguments"),
        protocol_version=version,
        missing_meta=tuple(member for member in _REQUIRED_META if members.get(member) is None),
    )


def _is_message(message: Mapping[str, Any]) -> bool:
    """Return whether it is a request, a notification or a response.

    JSON-RPC allows null as the id of a request. MCP does not, and some servers take that for a notification.
    """
    identifier = message.get("id")
    if message.get("jsonrpc") != "2.0" or isinstance(identifier, bool):
        return False
    if "method" not in message:
        return isinstance(identifier, str | int | None) and ("result" in message or "error" in message)
    return isinstance(message["method"], str) and ("id" not in message or isinstance(identifier, str | int))


def check_headers(message: McpMessage, head: RequestHead) -> None:
    """Refuse a message that MCP requires servers to refuse, for the first fault in the order of its SDKs.

    1. From 2026-07-28 on ``_meta`` of a request has the version and the client's capabilities.
    2. The headers equal the body.
    3. The version is supported.

    Not checked: the ``_meta`` of notifications, for which the specification requires nothing.

    Raises:
        Denied: ``MCP_PARAMS_INVALID``, ``MCP_HEADERS_DIFFER`` or ``MCP_VERSION_UNSUPPORTED``.
    """
    version = _only_value(head, "mcp-protocol-version")
    is_request = message.id is not None and message.method is not None
    if version is None:
        stateless = message.protocol_version is not None
    else:
        stateless = version in _STATELESS_VERSIONS or version not in SUPPORTED_VERSIONS
    if stateless and version is not None and is_request and message.missing_meta:
        missing = ", ".join(message.missing_meta)
        raise Denied(
            Reason.MCP_PARAMS_INVALID, f"_meta lacks {missing}", client_text=f"params._meta lacks {missing}."
        )
    if is_request and message.protocol_version not in (version, None):
        raise Denied(Reason.MCP_HEADERS_DIFFER, "MCP-Protocol-Version")
    expected = {"mcp-method": message.method, "mcp-name": message.name}
    for header, value in expected.items():
        sent = head.values(header)
        if not sent and (not stateless or value is None):
            continue
        if len(sent) != 1 or value is None or _decoded(sent[0]) != value:
            raise Denied(Reason.MCP_HEADERS_DIFFER, header)
    if version is not None and version not in SUPPORTED_VERSIONS:
        raise Denied(
            Reason.MCP_VERSION_UNSUPPORTED,
            "MCP-Protocol-Version",
            # Earlier revisions are negotiated by `initialize`; servers that support them may not list them.
            data={"supported": list(_STATELESS_VERSIONS), "requested": version[:_LONGEST_VERSION]},
        )


def _decoded(value: str) -> str | None:
    match = _ENCODED.fullmatch(value)
    if match is None:
        return value
    payload = match["payload"]
    try:
        decoded = base64.b64decode(payload, validate=True)
        # Only the canonical encoding is accepted, so that no two values mean the same.
        return decoded.decode("utf-8") if base64.b64encode(decoded).decode() == payload else None
    except (binascii.Error, ValueError):
        return None


def _has_nul(message: Mapping[str, Any]) -> bool:
    """Return whether a string at any depth contains U+0000, including names of members."""
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
