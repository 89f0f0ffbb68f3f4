"""Recognize MCP requests, and read the id and method that the error response to a refused one repeats.

This is lenient where ``policy.mcp`` is strict: nothing is allowed because of what is read here. It only
shapes the response to a request that is refused anyway.
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from extproc import strictjson
from extproc.policy.mcp import MAX_COMMAS, MAX_CONTAINERS, JsonRpcId
from extproc.values import RequestHead

LONGEST_PARSED = 256 * 1024
"""Bytes. A longer body is not parsed; only its beginning and end are searched."""

_END = 4096  # bytes of a long body's beginning and end that are searched
_MOST_LAST_MEMBERS = 4
_MCP_HEADERS = ("mcp-protocol-version", "mcp-method", "mcp-session-id")
_JSON_TYPE = re.compile(r"application/json *(?:;.*)?", re.IGNORECASE | re.ASCII)
_SCALAR = rb'(?:"(?:[^"\\]|\\.)*+"|-?[0-9][0-9.eE+-]*+|true|false|null)'
_MEMBER = rb'\s*+"(?:[^"\\]|\\.)*+"\s*+:\s*+' + _SCALAR + rb"\s*+"
# SDKs write the id before or after the only long member, params.
_FIRST_MEMBERS = re.compile(rb"\s*+\{((?:" + _MEMBER + rb",)+)", re.DOTALL)
_LAST_MEMBER = re.compile(rb",(" + _MEMBER + rb")\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Envelope:
    """The members of a JSON-RPC message that an error response repeats.

    Attributes:
        id: the id of a request; None for other messages, and if it cannot be read.
        method: the method; None if it cannot be read.
    """

    id: JsonRpcId = None
    method: str | None = None


UNKNOWN = Envelope()


def may_be_mcp(head: RequestHead) -> bool:
    """Return whether the head of a request looks like that of an MCP message.

    In every revision clients accept ``text/event-stream``. Those that do not are recognized by the path.
    """
    if head.method != "POST" or not all(_JSON_TYPE.fullmatch(value) for value in head.values("content-type")):
        return False
    return (
        head.path.partition("?")[0].rstrip("/").endswith("/mcp")
        or any(head.values(name) for name in _MCP_HEADERS)
        or any("text/event-stream" in value.lower() for value in head.values("accept"))
    )


def read_envelope(body: bytes) -> Envelope | None:
    """Return the envelope of the message in a body; None if that is not a JSON-RPC message.

    Never raises.
    """
    if len(body) > LONGEST_PARSED:
        return _of_both_ends(body)
    if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS or body.count(b",") > MAX_COMMAS:
        return _of_both_ends(body)
    try:
        members = strictjson.loads_object(body)
    except strictjson.AmbiguousJSONError:
        return None
    return _envelope(members)


def _envelope(members: dict[str, Any]) -> Envelope | None:
    if members.get("jsonrpc") != "2.0":
        return None
    method, identifier = members.get("method"), members.get("id")
    if not isinstance(method, str):
        return UNKNOWN  # a response: its id is one of the server's
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        identifier = None
    return Envelope(identifier, method)


def _of_both_ends(body: bytes) -> Envelope | None:
    """Return the envelope from the short members at the beginning and the end of a message.

    The last member before the final bracket belongs to the outermost object, whatever precedes it: no
    nested value can end like that.
    """
    members: dict[str, Any] = {}
    first = _FIRST_MEMBERS.match(body[:_END])
    if first:
        members |= _scalars(first[1][:-1])
    rest = body[-_END:].rstrip()
    if rest.endswith(b"}"):
        rest = rest[:-1]
        for _ in range(_MOST_LAST_MEMBERS):
            last = _LAST_MEMBER.search(rest)
            if last is None:
                break
            members |= _scalars(last[1])
            rest = rest[: last.start()]
    return _envelope(members)


def _scalars(members: bytes) -> dict[str, Any]:
    try:
        found = json.loads(b"{" + members + b"}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
