"""Which requests are MCP's, and what an error repeats of their message: its id and method.

Lenient where ``policy.mcp`` is strict, since nothing is allowed by what is read here: it only
shapes the answer to a request that is refused anyway.
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
"""Bytes of a body that is parsed to answer it; of a longer one only both ends are looked at."""

_END = 4096  # bytes of a long body's beginning and end
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
    """What an error repeats of a JSON-RPC message.

    Attributes:
        id: of a request; None for notifications, responses, batches, and where it cannot be read.
        method: None where it cannot be read.
    """

    id: JsonRpcId = None
    method: str | None = None


UNKNOWN = Envelope()


def may_be_mcp(head: RequestHead) -> bool:
    """Return whether a request is an MCP message as far as its head tells.

    Every revision has clients accept ``text/event-stream``; the path tells of those that do not.
    """
    if head.method != "POST" or not all(_JSON_TYPE.fullmatch(value) for value in head.values("content-type")):
        return False
    return (
        head.path.partition("?")[0].rstrip("/").endswith("/mcp")
        or any(head.values(name) for name in _MCP_HEADERS)
        or any("text/event-stream" in value.lower() for value in head.values("accept"))
    )


def read_envelope(body: bytes) -> Envelope | None:
    """Return what a body says of the message in it; None if it is no JSON-RPC message.

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
    """Read the members of the message before and after its first and last long one.

    A member before the end is one of the outermost object, whatever stands between: in JSON no text
    ends with an unescaped quote, a colon, a value and the bracket that closes everything.
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
