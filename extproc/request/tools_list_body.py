"""Filter the body of an answer to ``tools/list``: one JSON-RPC message, or server-sent events with it.

Only what is understood stays: a body that clients might read in another way is refused as a whole. Nothing is
added, and a body that loses nothing stays as it is, byte for byte.
https://modelcontextprotocol.io/specification, "Tools"; https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from extproc import strictjson
from extproc.policy.mcp import JsonRpcId

JSON, EVENTS = "application/json", "text/event-stream"
TYPES = frozenset({JSON, EVENTS})
"""Media types that are understood."""

MAX_TOOLS = 2000
_MAX_DEPTH = 128  # JSON Schemas of tools are nested
_LINE_END = re.compile(r"\r\n|\n|\r")
_MEMBERS = frozenset({"jsonrpc", "id", "method", "result", "error"})

Keeps = Callable[[str], bool]
"""Returns whether a tool with this name stays."""


class UnreadableError(ValueError):
    """The body is not understood. The message never quotes it."""


def filtered(body: bytes, content_type: str, identifier: JsonRpcId, keeps: Keeps) -> bytes | None:
    """Return the body without the tools that do not stay; None if it stays as it is.

    Raises:
        UnreadableError: it is not exactly one answer to the request with this id.
    """
    try:
        if content_type == EVENTS:
            return _of_events(body, identifier, keeps)
        message = strictjson.loads_object(body, max_depth=_MAX_DEPTH)
        if not _is_answer(message, identifier):
            raise UnreadableError("not an answer to the request")
        return _encoded(message) if _filter(message, keeps) else None
    except strictjson.AmbiguousJSONError as error:
        raise UnreadableError(str(error)) from None


@dataclass(frozen=True, slots=True)
class _Event:
    """A server-sent event. ``kind``: its type, "message" by default."""

    kind: str
    data: str


def _of_events(body: bytes, identifier: JsonRpcId, keeps: Keeps) -> bytes | None:
    """Filter events. Without ids, where something is taken out, since a client could have it sent again."""
    try:
        text = body.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise UnreadableError("events that are not UTF-8") from None
    kept: list[str] = []
    changed, answers = False, 0
    for event in _events(text):
        if event is None or event.kind != "message":
            changed = True  # clients ignore it, or should
            continue
        message = strictjson.loads_object(event.data.encode(), max_depth=_MAX_DEPTH)
        if "method" in message and not _is_ambiguous(message) and not {"result", "error"} & message.keys():
            kept.append(event.data)  # a notification or a request of the server
            continue
        if not _is_answer(message, identifier):
            raise UnreadableError("an event is no answer to the request")
        answers += 1
        removed = _filter(message, keeps)
        changed = changed or removed
        kept.append(_encoded(message).decode() if removed else event.data)
    if answers != 1:
        raise UnreadableError("not exactly one answer among the events")
    return "".join(map(_event, kept)).encode() if changed else None


def _events(text: str) -> Iterator[_Event | None]:
    """Yield the events of a stream; None for an unfinished one at its end, which clients discard."""
    kind, pending = "", False
    data: list[str] = []
    *lines, rest = _LINE_END.split(text)
    for line in lines:
        if not line:
            if any(data):  # one without data has only an id, from which a client could go on
                yield _Event(kind or "message", "\n".join(data))
            kind, data, pending = "", [], False
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        pending = pending or name != ""
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
    if pending or rest:
        yield None


def _event(data: str) -> str:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: message\n{lines}\n"


def _is_ambiguous(message: Mapping[str, Any]) -> bool:
    """Return whether a parser that ignores the case of names would find further members."""
    return any(name not in _MEMBERS and name.casefold() in _MEMBERS for name in message)


def _is_answer(message: Mapping[str, Any], identifier: JsonRpcId) -> bool:
    if message.get("jsonrpc") != "2.0" or "method" in message or _is_ambiguous(message):
        return False
    own = message.get("id")
    return (
        identifier is not None
        and type(own) is type(identifier)
        and own == identifier
        and ("result" in message) is not ("error" in message)
    )


def _filter(message: dict[str, Any], keeps: Keeps) -> bool:
    """Take out tools of a result in place; return whether any was.

    Raises:
        UnreadableError: it is no result of ``tools/list``.
    """
    if "result" not in message:
        return False  # an error lists no tools
    result = message["result"]
    listed = result.get("tools") if isinstance(result, dict) else None
    if not isinstance(listed, list) or any(name.casefold() == "tools" for name in result if name != "tools"):
        raise UnreadableError("a result without one list of tools")
    if len(listed) > MAX_TOOLS:
        raise UnreadableError("too many tools")
    kept = [tool for tool in listed if keeps(_name(tool))]
    result["tools"] = kept
    return len(kept) < len(listed)


def _name(tool: Any) -> str:
    name = tool.get("name") if isinstance(tool, dict) else None
    if not isinstance(name, str) or any(other.casefold() == "name" for other in tool if other != "name"):
        raise UnreadableError("a tool without one name")
    return name


def _encoded(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
