"""A bounded log of the requests that arrived at the demo's upstream.

It contains no secrets: of an Authorization value it keeps the scheme and a digest prefix, of a session
token a digest prefix, and anywhere else a JWT is replaced by its digest prefix.
"""

import hashlib
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from extproc.demo.sigv4_request import ReceivedRequest

CAPACITY: Final = 2000
# A JWT's header is JSON, so its base64url form starts with that of '{"'.
_JWT: Final = re.compile(rb"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request; ``outcome`` is ``verified`` or the code it was rejected with."""

    method: str
    raw_path: str
    raw_query: str
    http_version: str
    headers: tuple[tuple[str, str], ...]
    authorization_count: int
    bearer_seen: bool
    body_length: int
    body_sha256: str
    request_id: str | None
    outcome: str = "pending"
    access_key_id: str | None = None
    arn: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters of all requests since the start or the last reset."""

    received: int = 0
    verified: int = 0
    rejected: int = 0
    bearer_seen: int = 0


class RequestLog:
    """The last ``CAPACITY`` requests, and totals. ``write_line`` is called with a line of JSON for each."""

    def __init__(self, write_line: Callable[[str], None] = lambda _line: None) -> None:
        self._write_line = write_line
        self._requests: deque[RecordedRequest] = deque(maxlen=CAPACITY)
        self._totals = Totals()

    def add(self, record: RecordedRequest) -> None:
        """Count a request whose outcome is known, and keep it."""
        totals = self._totals
        verified = record.outcome == "verified"
        self._totals = Totals(
            received=totals.received + 1,
            verified=totals.verified + verified,
            rejected=totals.rejected + (not verified),
            bearer_seen=totals.bearer_seen + record.bearer_seen,
        )
        self._requests.append(record)
        self._write_line(_line(record))

    def requests(self) -> list[dict[str, Any]]:
        """Return the kept requests, oldest first, ready for JSON."""
        return [asdict(record) for record in self._requests]

    def totals(self) -> dict[str, int]:
        """Return the counters by name."""
        return asdict(self._totals)

    def reset(self) -> None:
        """Forget everything."""
        self._requests.clear()
        self._totals = Totals()


def describe(request: ReceivedRequest, *, http_version: str) -> RecordedRequest:
    """Return a record of a request without its secrets; its outcome is pending."""
    request_ids = request.values("x-request-id")
    return RecordedRequest(
        method=request.method,
        raw_path=_text(request.raw_path),
        raw_query=_text(request.raw_query),
        http_version=http_version,
        headers=tuple(_header(name, value) for name, value in request.headers),
        authorization_count=len(request.values("authorization")),
        bearer_seen=any(_JWT.search(value) is not None for _, value in request.headers),
        body_length=len(request.body),
        body_sha256=hashlib.sha256(request.body).hexdigest(),
        request_id=_text(request_ids[0]) if request_ids else None,
    )


def concluded(
    record: RecordedRequest, *, outcome: str, access_key_id: str | None = None, arn: str | None = None
) -> RecordedRequest:
    """Return the record with the outcome of the verification."""
    return replace(record, outcome=outcome, access_key_id=access_key_id, arn=arn)


def _line(record: RecordedRequest) -> str:
    """Return a line of an access log, with the request id that Envoy and extproc log too."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": record.request_id,
        "method": record.method,
        "path": record.raw_path,
        "outcome": record.outcome,
        "access_key_id": record.access_key_id,
        "arn": record.arn,
    }
    return json.dumps(line)


def _header(name: bytes, value: bytes) -> tuple[str, str]:
    label = name.decode("latin-1")
    match label.lower():
        case "authorization" | "proxy-authorization":
            # Without a space there is no scheme, and the whole value may be a secret.
            scheme, space, _ = value.partition(b" ")
            return label, f"{scheme.decode('latin-1') if space else ''} sha256:{_digest(value)}".strip()
        case "x-amz-security-token":
            return label, f"sha256:{_digest(value)}"
        case _:
            return label, _text(value)


def _text(value: bytes) -> str:
    return _JWT.sub(lambda match: f"<jwt sha256:{_digest(match[0])}>".encode(), value).decode("latin-1")


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:16]
