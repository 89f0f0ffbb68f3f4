"""One event of the audit log: its fields, and its line of JSON, which is ASCII whatever clients sent."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from extproc.telemetry.record import RequestRecord
from extproc.values import Caller, Grant

SHORT, LONG = 256, 1024
"""Characters kept of texts that others choose."""

_TRACEPARENT = 64
_METHOD = 32
_TRACE_ID = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


class Event(NamedTuple):
    """One decision. Strings from clients are truncated already, so that the queue's memory is bounded."""

    at: float  # seconds since the epoch
    decision: str
    reason: str
    detail: str
    request_id: str | None
    traceparent: str | None
    method: str
    path: str
    target: str
    mcp_method: str | None
    mcp_name: str | None
    caller: Caller | None
    grant: Grant | None
    access_key_id: str | None
    cache: str
    own: float  # seconds, like all durations
    sign: float | None
    stages: Mapping[str, tuple[float, float]]


def event_of(record: RequestRecord, detail: str, at: float) -> Event:
    """Return the event for a record. It must keep neither head nor identity, which refer to the token."""
    head, identity = record.head, record.identity
    request_id = parent = None
    method = path = ""
    mcp_method, mcp_name = record.mcp_method, record.mcp_name
    if head is not None:
        request_id, parent = record.request_id, record.header("traceparent")
        # Without the query, which may contain secrets.
        method, path = head.method[:_METHOD], head.path[:LONG].partition("?")[0]
        if mcp_method is None:
            mcp_method, mcp_name = head.get("mcp-method"), head.get("mcp-name")
    return Event(
        at,
        record.decision,
        record.reason,
        detail[:SHORT],
        request_id,
        parent and parent[:_TRACEPARENT],
        method,
        path,
        record.target,
        mcp_method and mcp_method[:SHORT],
        mcp_name and mcp_name[:SHORT],
        None if identity is None else identity.caller,
        record.grant,
        record.access_key_id,
        record.cache,
        record.own,
        record.sign,
        record.stages,
    )


def render(event: Event) -> bytes:
    """Return the event's line, with its line feed."""
    caller, grant = event.caller, event.grant
    stages = {name: _microseconds(ended - began) for name, (began, ended) in event.stages.items()}
    fields = {
        "time": datetime.fromtimestamp(event.at, UTC),
        "decision": event.decision,
        "reason": event.reason,
        "detail": event.detail,
        "request_id": event.request_id,
        "trace_id": trace_id(event.traceparent),
        "issuer": caller.issuer if caller else None,
        "subject": caller.subject[:SHORT] if caller else None,
        "jti": caller.token_id and caller.token_id[:SHORT] if caller else None,
        "client": caller.client and caller.client[:SHORT] if caller else None,
        "agent": [actor[:SHORT] for actor in caller.actors] if caller else [],
        "target": event.target,
        "method": event.method,
        "path": event.path,
        "mcp_method": event.mcp_method,
        "mcp_tool": event.mcp_name if event.mcp_method == "tools/call" else None,
        "mapping": grant.mapping if grant else None,
        "role_arn": grant.assumed_role_arn if grant else None,
        "session_name": grant.session_name if grant else None,
        "access_key_id": event.access_key_id,
        "cache": event.cache,
        "duration_us": _microseconds(event.own),
        "verify_us": stages.get("verify"),
        "policy_us": stages.get("policy"),
        "exchange_us": stages.get("exchange"),
        "target_us": stages.get("target"),
        "sign_us": None if event.sign is None else _microseconds(event.sign),
    }
    if grant is not None and grant.break_glass is not None:
        fields |= {"level": "warning", "break_glass": grant.break_glass}
    try:
        line = orjson.dumps(fields)
    except TypeError:  # a lone surrogate: valid in a JSON escape, but not in UTF-8
        line = b"\x80"
    # Escape everything but ASCII, since some readers of logs end lines at U+0085 or U+2028.
    if not line.isascii():
        line = json.dumps(fields, separators=(",", ":"), default=datetime.isoformat).encode("ascii")
    return line + b"\n"


def trace_id(traceparent: str | None) -> str | None:
    """Return the trace id of a ``traceparent`` header (W3C Trace Context 3.2.2); None if it is not valid."""
    found = _TRACE_ID.fullmatch(traceparent) if traceparent else None
    return found[1] if found else None


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
