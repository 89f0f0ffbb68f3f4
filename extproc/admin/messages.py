"""Plain values into messages of the admin API, and its requests into plain values."""

import json
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from extproc.admin.operations import (
    CredentialsView,
    KeySetStatus,
    RefusedError,
    Revocation,
    SessionView,
    Status,
)
from extproc.admin.v1 import admin_pb2
from extproc.sessions.revocation import Selector

REFUSED_FOR = 24 * 3600.0
"""Seconds for which a revocation refuses, unless it says for how long."""

_MILLISECONDS, _NANOSECONDS = 1000, 1_000_000_000  # in a second
_LATEST = 253_402_300_799  # seconds: the last that a Timestamp can hold
_EXACT = 2.0**53
"""From here on a double no longer tells neighbouring integers apart."""

_CONDITIONS = frozenset({"issuer", "subject", "jti", "role_arn"})
_PAGE_SIZE, _LARGEST_PAGE = 100, 1000
_PAGE_TOKEN = re.compile(r"[0-9a-f]{16}")


def timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch, to the millisecond; what is later than the year 9999 is cut off there."""
    message = Timestamp()
    message.FromMilliseconds(round(min(max(seconds, 0.0), _LATEST) * _MILLISECONDS))
    return message


def duration(seconds: float) -> Duration:
    """Seconds, to the millisecond."""
    message = Duration()
    message.FromMilliseconds(round(seconds * _MILLISECONDS))
    return message


def selector(request: admin_pb2.ListSessionsRequest | admin_pb2.RevokeRequest) -> Selector:
    """The conditions of a request.

    Raises:
        RefusedError: one is an empty text.
    """
    given = {field.name: value for field, value in request.ListFields() if field.name in _CONDITIONS}
    for name, value in given.items():
        if not value:
            raise RefusedError(f"{name}: must not be empty")
    return Selector(
        issuer=given.get("issuer"),
        subject=given.get("subject"),
        token_id=given.get("jti"),
        role_arn=given.get("role_arn"),
    )


def refuse_for(request: admin_pb2.RevokeRequest) -> float:
    """For how many seconds to refuse whom a revocation names; with a role nobody is refused.

    Raises:
        RefusedError: less than nothing.
    """
    if not request.HasField("duration"):
        return 0.0 if request.role_arn else REFUSED_FOR
    seconds: float = request.duration.seconds + request.duration.nanos / _NANOSECONDS
    if seconds < 0:
        raise RefusedError("duration: must not be negative")
    return seconds


def page(request: admin_pb2.ListSessionsRequest, views: list[SessionView]) -> admin_pb2.ListSessionsResponse:
    """The page that is asked for, in order of the ids: nothing is listed twice, whatever comes or goes.

    Raises:
        RefusedError: the size or the token is none.
    """
    if request.page_size < 0:
        raise RefusedError("page_size: must not be negative")
    if request.page_token and not _PAGE_TOKEN.fullmatch(request.page_token):
        raise RefusedError("page_token: is none of an earlier answer")
    size = min(request.page_size or _PAGE_SIZE, _LARGEST_PAGE)
    following = sorted((view for view in views if view.id > request.page_token), key=lambda view: view.id)
    shown = following[:size]
    return admin_pb2.ListSessionsResponse(
        sessions=[_session(view) for view in shown],
        next_page_token=shown[-1].id if len(following) > size else "",
    )


def _session(view: SessionView) -> admin_pb2.Session:
    return admin_pb2.Session(
        id=view.id,
        worker=view.worker,
        issuer=view.issuer,
        subject=view.subject,
        jti=view.jti or "",
        token_expires_at=timestamp(view.expires_at),
        credentials=[_credentials(credentials) for credentials in view.credentials],
    )


def _credentials(view: CredentialsView) -> admin_pb2.Credentials:
    return admin_pb2.Credentials(
        mapping=view.mapping or "",
        role_arn=view.role_arn,
        chained_role_arn=view.chained_role_arn or "",
        session_name=view.session_name,
        access_key_id=view.access_key_id,
        obtained_at=timestamp(view.obtained_at),
        expires_at=timestamp(view.expires_at),
        last_used_at=timestamp(view.used_at),
    )


def status(value: Status) -> admin_pb2.WorkerStatus:
    """The status of one process."""
    return admin_pb2.WorkerStatus(
        worker=value.worker,
        pid=value.pid,
        version=value.version,
        started_at=timestamp(value.started_at),
        uptime=duration(value.now - value.started_at),
        ready=not value.unready,
        reasons=value.unready,
        degraded=value.degraded,
        configuration=admin_pb2.Configuration(
            digest=value.configuration.digest,
            loaded_at=timestamp(value.configuration.loaded_at),
            problems=value.configuration.problems,
        ),
        sessions=value.sessions,
        credentials=value.credentials,
        revocations=value.revocations,
        exchanges_waiting=value.exchanges_waiting,
        breaker=f"BREAKER_STATE_{value.breaker}",
        clock_offset=duration(value.clock_offset),
        key_sets=[_key_set(key_set, value.now) for key_set in value.key_sets],
    )


def _key_set(value: KeySetStatus, now: float) -> admin_pb2.KeySet:
    known = value.fetched_at is not None
    return admin_pb2.KeySet(
        issuer=value.issuer,
        usable=value.usable,
        keys=value.keys,
        fetched_at=timestamp(value.fetched_at or 0.0) if known else None,
        age=duration(now - (value.fetched_at or 0.0)) if known else None,
        failure=value.failure or "",
    )


def revoked(value: Revocation) -> admin_pb2.RevokeResponse:
    """What a revocation did."""
    return admin_pb2.RevokeResponse(
        sessions=value.sessions,
        credentials=value.credentials,
        refused_until=timestamp(value.refused_until) if value.refused_until is not None else None,
        role_policy=value.role_policy,
    )


def explanation(facts: Mapping[str, Any]) -> admin_pb2.ExplainResponse:
    """A JSON object."""
    answer = admin_pb2.ExplainResponse()
    answer.explanation.update(facts)
    return answer


def json_of(struct: Struct, name: str) -> bytes:
    """A Struct as the JSON that it was. It knows doubles only: whole ones are taken for integers.

    Raises:
        RefusedError: a number that may have been another one before it became a double.
    """
    return json.dumps({key: _plain(value, name) for key, value in struct.fields.items()}).encode()


def _plain(value: Value, name: str) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {key: _plain(member, name) for key, member in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_plain(member, name) for member in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        if not abs(number) < _EXACT:
            raise RefusedError(f"{name}: a number is too large to be exact here; try extproc explain")
        return int(number) if number.is_integer() else number
    return None if kind in (None, "null_value") else getattr(value, kind)
