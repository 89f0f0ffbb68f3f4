"""The record of one request and its decision: filled step by step, and passed on once, at the end."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from extproc.values import Credentials, Grant, Identity, RequestHead, SharedHeaders

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_MAX_REQUEST_ID = 128  # characters; clients may choose it

HIT, SESSION, MISS = "hit", "session", "miss"
"""Which caches had what the request needed: both; the sessions, but not the credentials or the decision;
none. An empty string if the request was decided before that mattered."""


class RequestRecord:
    """One request.

    Attributes:
        own_value: returns the request's own value of a header in which it differs from ``head``.
        remaining: seconds until the credentials expire.
        own: seconds in this process, with waiting, and without the time in which Envoy buffers a body.
        sign: seconds for the signature.
        withheld: how many of the client's headers were removed.
        is_counted: whether rate limits have counted the request.
        shared: what its signature shares with others, if it is signed.
        listing: the request for a list of tools, if its response is to be filtered (``request.tools_lists``).
        stages: when each stage of the request's own work began and ended, in seconds of
            ``time.perf_counter``. A request that waited for the work of another one has no such stage.
    """

    __slots__ = (
        "_resumed",
        "access_key_id",
        "arrived",
        "cache",
        "decision",
        "decision_key",
        "grant",
        "head",
        "identity",
        "is_counted",
        "listing",
        "mcp_method",
        "mcp_name",
        "own",
        "own_value",
        "reason",
        "remaining",
        "shared",
        "sign",
        "stages",
        "target",
        "withheld",
    )

    def __init__(self) -> None:
        self.head: RequestHead | None = None
        self.own_value: Callable[[str], str | None] | None = None
        self.target = ""
        self.mcp_method: str | None = None
        self.mcp_name: str | None = None
        self.identity: Identity | None = None
        self.grant: Grant | None = None
        self.decision_key: tuple[object, ...] | None = None
        self.access_key_id: str | None = None
        self.remaining: float | None = None
        self.cache = ""
        self.decision = ""
        self.reason = ""
        self.own = 0.0
        self.sign: float | None = None
        self.withheld = 0
        self.is_counted = False
        self.shared: SharedHeaders | None = None
        self.listing: Any = None
        self.stages: Mapping[str, tuple[float, float]] = _NOTHING
        self.arrived = self._resumed = time.perf_counter()

    def header(self, name: str) -> str | None:
        """Return the request's own value of a header, for logs; ``name`` is in lower case."""
        own = self.own_value(name) if self.own_value is not None else None
        if own is not None:
            return own
        return self.head.get(name) if self.head is not None else None

    @property
    def request_id(self) -> str | None:
        """Envoy's id of the request, truncated for logs and responses; None if there is none."""
        value = self.header("x-request-id")
        return value[:_MAX_REQUEST_ID] if value else None

    def resume(self) -> float:
        """Start measuring own time: a message from Envoy has come. Return the seconds since the pause."""
        before, self._resumed = self._resumed, time.perf_counter()
        return self._resumed - before

    def pause(self) -> None:
        """Add the time since the last message to ``own``: a response goes to Envoy."""
        now = time.perf_counter()
        self.own += now - self._resumed
        self._resumed = now

    def signed_for(
        self,
        identity: Identity,
        grant: Grant,
        credentials: Credentials,
        *,
        seconds: float,
        shared: SharedHeaders | None = None,
    ) -> None:
        """Record that the request was signed, and how many ``seconds`` that took."""
        self.identity = identity
        self.grant = grant
        self.access_key_id = credentials.access_key_id
        self.remaining = credentials.expires_at - time.time()
        self.sign = seconds
        self.shared = shared

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one stage, even if it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages = {**self.stages, name: (began, time.perf_counter())}
