"""Requests of the admin API as values, and values as protobuf's well-known types."""

import json
import re
from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from extproc import struct_values
from extproc.admin.errors import RefusedError
from extproc.admin.v1 import admin_pb2
from extproc.sessions.revocation import Selector

REFUSED_FOR = 24 * 3600.0
"""Seconds for which a revocation refuses, unless it says for how long."""

_MILLISECONDS, _NANOSECONDS = 1000, 1_000_000_000  # in a second
_LATEST = 253_402_300_799  # seconds: the last that a Timestamp can hold
_EXACT = 2.0**53
"""From here on a double no longer distinguishes neighbouring integers."""

_CONDITIONS = frozenset({"issuer", "subject", "jti", "role_arn"})
PAGE_SIZE, MAX_PAGE_SIZE = 100, 1000
"""Sessions of a page by default and at most, as admin.proto says."""
DECISIONS, MAX_DECISIONS = 500, 1000
"""Events of an answer by default and at most, as admin.proto says."""
_PAGE_TOKEN = re.compile(r"[0-9a-f]{16}")


def timestamp(seconds: float) -> Timestamp:
    """Return seconds since the epoch, to the millisecond; at most the end of the year 9999."""
    message = Timestamp()
    message.FromMilliseconds(round(min(max(seconds, 0.0), _LATEST) * _MILLISECONDS))
    return message


def duration(seconds: float) -> Duration:
    """Return seconds, to the millisecond."""
    message = Duration()
    message.FromMilliseconds(round(seconds * _MILLISECONDS))
    return message


def selector(
    request: admin_pb2.ListSessionsRequest | admin_pb2.RevokeRequest | admin_pb2.LiftRevocationRequest,
) -> Selector:
    """Return the conditions of a request.

    Raises:
        RefusedError: one of them is an empty string.
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
    """Return for how many seconds a revocation refuses the selected users; 0 by default with a role.

    Raises:
        RefusedError: the duration is negative.
    """
    if not request.HasField("duration"):
        return 0.0 if request.role_arn else REFUSED_FOR
    seconds: float = request.duration.seconds + request.duration.nanos / _NANOSECONDS
    if seconds < 0:
        raise RefusedError("duration: must not be negative")
    return seconds


def page_size(request: admin_pb2.ListSessionsRequest) -> int:
    """Return how many sessions the requested page may have.

    Raises:
        RefusedError: the size is negative.
    """
    if request.page_size < 0:
        raise RefusedError("page_size: must not be negative")
    return min(request.page_size or PAGE_SIZE, MAX_PAGE_SIZE)


def decisions_limit(request: admin_pb2.ListDecisionsRequest) -> int:
    """Return how many events the answer may have.

    Raises:
        RefusedError: the number is negative.
    """
    if request.limit < 0:
        raise RefusedError("limit: must not be negative")
    return min(request.limit or DECISIONS, MAX_DECISIONS)


def page(request: admin_pb2.ListSessionsRequest, ids: Iterable[str]) -> tuple[list[str], str]:
    """Return the ids of the requested page, and the token of the next one (empty if it is the last).

    Pages are in the order of the ids: no session is listed twice, whichever begin or end meanwhile.

    Raises:
        RefusedError: the page's size or token is not valid.
    """
    size = page_size(request)
    if request.page_token and not _PAGE_TOKEN.fullmatch(request.page_token):
        raise RefusedError("page_token: is none of an earlier answer")
    following = sorted(each for each in ids if each > request.page_token)
    return following[:size], following[size - 1] if len(following) > size else ""


def json_of(struct: Struct, name: str) -> bytes:
    """Return a Struct as the JSON that it was made from; doubles without a fraction become integers.

    Raises:
        RefusedError: a number is too large to be exact as a double.
    """

    def number(double: float) -> int | float:
        if not abs(double) < _EXACT:
            raise RefusedError(f"{name}: a number is too large to be exact here; try extproc explain")
        return int(double) if double.is_integer() else double

    return json.dumps(struct_values.plain(struct, number=number)).encode()
