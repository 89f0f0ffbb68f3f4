"""Refusal: an exception on the way becomes one response, one decision and one log line.

What the response looks like is in ``request.denial_responses``.
"""

import structlog

from extproc.authn.bearer import bearer_token
from extproc.errors import Denied, Reason
from extproc.policy.mcp_envelope import UNKNOWN, Envelope, may_be_mcp, read_envelope
from extproc.request.admission import Admission, AdmissionControl, stays
from extproc.request.authorization import Authorization
from extproc.request.denial_responses import DenialResponses
from extproc.request.waiting_denials import BEFORE_VERIFICATION, WaitingDenials
from extproc.sessions.session import token_digest
from extproc.telemetry.observer import Observer, Verdict
from extproc.telemetry.record import RequestRecord
from extproc.values import ImmediateResponse, RequestHead, TokenDigest

_log = structlog.get_logger(__name__)


class Refusals:
    """Answers the requests that are not forwarded, under one configuration. For any thread.

    Attributes:
        waiting: denials that wait for the body of their request.
    """

    def __init__(
        self,
        *,
        denials: DenialResponses,
        admission: AdmissionControl,
        authorization: Authorization,
        observer: Observer,
        waiting: WaitingDenials,
    ) -> None:
        self._denials = denials
        self._admission = admission
        self._authorization = authorization
        self._observer = observer
        self.waiting = waiting

    def answer(
        self, error: BaseException, record: RequestRecord, admission: Admission | None, body: bytes
    ) -> ImmediateResponse:
        """Return the response to a failed request. Any exception but ``Denied`` is a bug, and denies too.

        Args:
            error: the exception.
            record: the request's record; receives the decision.
            admission: None for a request that was not admitted.
            body: the request's body, if it came; an MCP message in it is answered in its own form.
        """
        if isinstance(error, Denied):
            denied = error
            _log.debug(
                "request_denied",
                reason=denied.reason.value,
                detail=denied.detail,
                request_id=record.request_id,
            )
        else:
            # The type and place only: the message of an unforeseen exception may quote a secret.
            denied = Denied(Reason.INTERNAL, f"{type(error).__name__} at {_place(error)}")
            _log.error(
                "request_failed",
                error=type(error).__name__,
                at=_place(error),
                request_id=record.request_id,
            )
        if admission is not None:
            self._authorization.describe(admission, record)
        try:
            self._observer.on_decision(record, Verdict.DENY, denied.reason.value, denied.detail)
        except Exception as unobserved:  # noqa: BLE001 - a denial stands, whether or not it can be counted
            _log.error("telemetry_failed", error=type(unobserved).__name__, at=_place(unobserved))
        return self._denials.reply(
            denied,
            record.head,
            request_id=record.request_id,
            message=self._message(record.head, admission, body),
        )

    def abandon(self, record: RequestRecord, admission: Admission | None, phase: str) -> None:
        """Record a stream that Envoy reset before its answer. An exchange that it began goes on."""
        if admission is not None:
            self._authorization.describe(admission, record)
        try:
            self._observer.on_abandoned(record, phase)
        except Exception as unobserved:  # noqa: BLE001 - the stream is gone, and nothing to answer
            _log.error("telemetry_failed", error=type(unobserved).__name__, at=_place(unobserved))

    def may_wait(self, error: BaseException, record: RequestRecord, admission: Admission | None) -> bool:
        """Return whether the denial may wait for the body, which has the id of the MCP request."""
        head = record.head
        return (
            head is not None
            and head.has_body  # or Envoy would take "continue" for the last word
            and (admission is None or admission.needs_body)
            and self.waiting.may_wait(error, record.header("content-length"))
            and self._message(head, admission, b"") is not None
        )

    def is_before_verification(self, error: Exception) -> bool:
        """Return whether the request was denied before its token was verified."""
        return isinstance(error, Denied) and error.reason in BEFORE_VERIFICATION

    async def identify(self, head: RequestHead) -> bool:
        """Verify the token of a request that is denied anyway; return whether it is valid.

        Bodies are waited for, and buffered by Envoy, for known users only.
        """
        try:
            await self._authorization.identify(head)
        except Exception:  # noqa: BLE001 - the request keeps its own reason
            return False
        return True

    def token_of(self, head: RequestHead, admission: Admission | None) -> TokenDigest:
        """Return the digest by which waiting denials are counted; the token is verified by now."""
        return admission.digest if admission is not None else token_digest(bearer_token(head))

    def withheld_names(self, head: RequestHead, admission: Admission | None) -> tuple[str, ...]:
        """Return the headers to take off a denied request before its body is asked for."""
        return admission.removed if admission else tuple(name for name in head.names if not stays(name))

    def _message(self, head: RequestHead | None, admission: Admission | None, body: bytes) -> Envelope | None:
        """Return what the response repeats of the MCP message; None if the request is not one of MCP's."""
        try:
            if head is None or head.method != "POST":
                return None
            target = admission.target if admission is not None else self._admission.target(head)
            if target is not None and not target.takes_mcp:
                return None
            is_mcp = may_be_mcp(head) or (target is not None and target.mcp)
            return (read_envelope(body) if body else None) or (UNKNOWN if is_mcp else None)
        except Exception as error:  # noqa: BLE001 - a denial stands, in whatever form
            _log.error("denial_form_failed", error=type(error).__name__, at=_place(error))
            return None


def _place(error: BaseException) -> str:
    """Return where an exception was raised, as module:line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
