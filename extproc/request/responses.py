"""Responses of upstreams to signed requests: which are read, and what a rejection teaches.

A wrong region, host or service shows in the upstream's response only, and an error may come with any of them:
a service may answer some calls without looking at their signature. So of each session and target the first
eight responses are read, then the 16th, the 32nd and so on: most responses do not pass through extproc.
"""

import itertools
import threading
from collections.abc import Callable
from typing import Literal

import structlog

from extproc.request.admission import Admission
from extproc.sessions.credentials import CredentialStore
from extproc.sessions.session import Authorized, Session
from extproc.signing.rejections import Cause, UpstreamResponse, rejection
from extproc.telemetry.record import RequestRecord

Observe = Literal["first", "every", "never"]
"""The values of ``observe_upstream``."""

_ALL_OF_THE_FIRST = 8
_AT_ONCE = 4096  # streams; a part of those that Envoy may hold open

# Hints for operators.
_OF_SIGNATURES = "compare what was signed: extproc sign --compare"
_OF_CREDENTIALS = "is the region enabled in the account, and of its partition?"

_log = structlog.get_logger(__name__)


class ResponseWatch:
    """Chooses the responses that are read, and learns from them. For any thread.

    Args:
        at_once: responses that may be awaited at a time.
        on_response: receives the target and the refusal's cause, "none", or "not_shown" if Envoy left first.

    Attributes:
        waiting: number of awaited responses.
    """

    def __init__(
        self,
        observe: Observe,
        *,
        credentials: CredentialStore,
        on_response: Callable[[str, str], None] = lambda _target, _refused: None,
        at_once: int = _AT_ONCE,
    ) -> None:
        self._observe = observe
        self._credentials = credentials
        self._on_response = on_response
        self._at_once = at_once
        self._lock = threading.Lock()
        self.waiting = 0

    def begin(self, session: Session, admission: Admission) -> bool:
        """Count a request; return whether its response is to be read.

        If so, ``look_at`` or ``not_shown`` is to follow.
        """
        if self._observe != "every":
            # Reading the response would make Envoy buffer a request body that could be streamed.
            if self._observe == "never" or (admission.head.has_body and not admission.needs_body):
                return False
            signed = session.signed.get(admission.target.name)
            if signed is None:
                signed = session.signed.setdefault(admission.target.name, itertools.count(1))
            number = next(signed)
            if number > _ALL_OF_THE_FIRST and number & (number - 1):
                return False
        if self.waiting >= self._at_once:
            return False
        self._await()
        return True

    def _await(self) -> None:
        with self._lock:
            self.waiting += 1

    def not_shown(self, admission: Admission, _record: RequestRecord | None = None) -> None:
        """Count a stream that Envoy ended before it showed the response."""
        self._end(admission, "not_shown")

    def look_at(
        self,
        admission: Admission,
        authorized: Authorized,
        response: UpstreamResponse,
        body: bytes,
        record: RequestRecord,
    ) -> None:
        """Count the response, and log it if AWS refused the signature or the credentials.

        If new credentials may help, the next request gets some. Bounded in how often that happens, since an
        upstream that refuses everything must not turn every request into an exchange.
        """
        refused = rejection(response, body)
        self._end(admission, refused.cause if refused else "none")
        if refused is None:
            return
        target, live = admission.target, authorized.live
        if refused.cause.new_credentials_may_help and self._credentials.forget_stale(authorized):
            _log.warning(
                "upstream_refused_credentials",
                target=target.name,
                status=response.status,
                error_type=refused.code,
                access_key_id=live.credentials.access_key_id,
            )
        # AWS refused credentials that are too new to be replaced: expiry is not the cause.
        elif refused.cause is not Cause.CREDENTIALS or (refused.code and authorized.granted.live is live):
            _log.warning(
                "upstream_refused_signature",
                target=target.name,
                status=response.status,
                error_type=refused.code,
                reason=refused.cause.value,
                signed_for={
                    "host": target.host,
                    "region": target.scope.region,
                    "service": target.scope.service,
                },
                request_id=record.request_id or "",
                hint=_OF_CREDENTIALS if refused.cause is Cause.CREDENTIALS else _OF_SIGNATURES,
            )

    def _end(self, admission: Admission, outcome: str) -> None:
        with self._lock:
            self.waiting -= 1
        self._on_response(admission.target.name, outcome)
