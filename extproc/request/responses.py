"""Responses of upstreams to signed requests: which are looked at, and what they say of the signature.

A wrong region, host or service shows in the upstream's response only, and an error may come with any of them:
a service may answer some calls without looking at their signature. So of each session and target the first
eight responses are looked at, then the 16th, the 32nd and so on: extproc stays on the way of few.
"""

import itertools
import threading
from collections.abc import Callable
from typing import Literal

import structlog

from extproc.request.admission import Admission
from extproc.sessions.credentials import CredentialSource
from extproc.sessions.session import Authorized, Session
from extproc.signing.rejections import Cause, UpstreamResponse, rejection
from extproc.telemetry.record import RequestRecord

Observe = Literal["first", "every", "never"]
"""The values of ``observe_upstream``."""

_ALL_OF_THE_FIRST = 8
_AT_ONCE = 4096  # streams; a part of those that Envoy may hold open

# What an operator may do about a refusal of AWS's.
_OF_SIGNATURES = "compare what was signed: extproc sign --compare"
_OF_CREDENTIALS = "is the region enabled in the account, and of its partition?"

_log = structlog.get_logger(__name__)


class ResponseWatch:
    """Chooses requests whose responses are looked at, and learns from these. For any thread.

    Args:
        at_once: responses that may be waited for at a time.
        on_response: receives the target and the refusal's cause, "none", or "not_shown" if Envoy left first.

    Attributes:
        waiting: requests that were chosen and whose responses have not come.
    """

    def __init__(
        self,
        observe: Observe,
        *,
        credentials: CredentialSource,
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
        """Count a request; return whether its response is to be looked at.

        If so, ``look_at`` or ``not_shown`` is to follow.
        """
        if self._observe != "every":
            # To look would have Envoy buffer a body that could go on as it comes.
            if self._observe == "never" or (admission.head.has_body and not admission.needs_body):
                return False
            signed = session.signed.get(admission.target.name)
            if signed is None:
                signed = session.signed.setdefault(admission.target.name, itertools.count(1))
            number = next(signed)
            if number > _ALL_OF_THE_FIRST and number & (number - 1):
                return False
        with self._lock:
            if self.waiting >= self._at_once:
                return False
            self.waiting += 1
        return True

    def not_shown(self, admission: Admission) -> None:
        """Note that Envoy left without having shown the response."""
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
        # Credentials that AWS refused and that are kept, too new to be replaced: it is not their age then.
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
