"""What is known of one request and the decision on it, filled along the way and told once, at its end."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from extproc.values import Authorized, Grant, Identity, RequestHead

_MAX_REQUEST_ID = 128  # characters; a client may choose it

HIT, SESSION, MISS = "hit", "session", "miss"
"""Where credentials came from: both were known; the session was known, and its credentials or the
decision had to be obtained; neither was known. Empty where a request was decided before that mattered."""


class RequestRecord:
    """One request. ``own``: seconds that it spent with us, waiting included; Envoy's buffering is not.

    ``stages``: what was worked out for this very request, as (began, ended) by name. A request
    that waited for another's work has none of its own.
    """

    # Defaults of the class: most requests set few of these, and one is made for each of them.
    head: RequestHead | None = None
    own_values: Mapping[str, str] = MappingProxyType({})  # of headers in which it differs from ``head``
    target = ""
    mcp_method: str | None = None
    mcp_name: str | None = None
    identity: Identity | None = None
    grant: Grant | None = None
    decision_key: tuple[object, ...] | None = None
    access_key_id: str | None = None
    remaining: float | None = None  # seconds that the credentials have left
    cache = ""
    decision = ""
    reason = ""
    own = 0.0
    sign: float | None = None
    withheld = 0  # headers of the client that were dropped
    stages: Mapping[str, tuple[float, float]] = MappingProxyType({})

    def __init__(self) -> None:
        self.arrived = self._resumed = time.perf_counter()

    def header(self, name: str) -> str | None:
        """The request's own value of a header, for logs; ``name`` in lower case."""
        if name in self.own_values:
            return self.own_values[name]
        return self.head.get(name) if self.head is not None else None

    @property
    def request_id(self) -> str | None:
        """Envoy's id of the request, cut to what logs and answers keep; None without one."""
        value = self.header("x-request-id")
        return value[:_MAX_REQUEST_ID] if value else None

    def resume(self) -> None:
        """Envoy's next message has come."""
        self._resumed = time.perf_counter()

    def pause(self) -> None:
        """An answer goes to Envoy."""
        now = time.perf_counter()
        self.own += now - self._resumed
        self._resumed = now

    def signed_for(self, authorized: Authorized, *, seconds: float) -> None:
        """The request is signed; ``seconds``: what that took."""
        self.identity = authorized.session.identity
        self.grant = authorized.grant
        self.access_key_id = authorized.credentials.access_key_id
        self.remaining = authorized.credentials.expires_at - time.time()
        self.sign = seconds

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one stage, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages = {**self.stages, name: (began, time.perf_counter())}
