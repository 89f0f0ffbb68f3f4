"""One ext_proc stream, message by message, without I/O.

    HEAD ──no body to sign──▶ allow or reply, done
      └───body needed───────▶ "continue" ──▶ BODY ──▶ allow or reply, done

"Continue" is said only to a token that is verified, and already takes the token and the
client's AWS headers off the request: should Envoy ever forward it without asking again,
it leaves with nothing on it. Trailers in place of the body are refused.

Where the upstream's answer is to be looked at, Envoy is asked for its head with the first answer, since it
listens to such wishes then only. An "allow" is then followed by what is left of the request, by the answer's
head, and then done. Only where a short error's body tells what its head does not, the body follows. Once
the request is signed the stream may be ended at any time, and Envoy goes on without us.

Where the target's open requests are counted, the stream holds a slot of it and is kept until Envoy ends it,
which is when the response is over or the client gone.

A stream that ends cleanly without its last answer would make Envoy forward the request
as it came, bearer token and all. So ``receive`` answers every message, whatever happens.
"""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field

import structlog

from extproc.errors import Denied, Reason
from extproc.ext_proc import codec
from extproc.fairness.stream_slots import Slot
from extproc.head_memory.fingerprint import LONGEST, RequestFingerprint, fingerprint
from extproc.policy.inputs import NO_INPUTS, Inputs
from extproc.request.admission import Admission
from extproc.request.held_back import OF_THE_HEAD
from extproc.request.pipeline import Pipeline
from extproc.signing.payload import Payload
from extproc.signing.rejections import LONGEST_BODY, UpstreamResponse, body_tells
from extproc.telemetry.observer import Verdict
from extproc.telemetry.record import RequestRecord
from extproc.values import Allow, Authorized, ImmediateResponse, RequestHead, TokenDigest

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Answer:
    """One message for Envoy.

    Attributes:
        last: the stream is to be closed after it.
        may_end: the request is signed, what may follow is only looked at; the stream may be closed with OK.
    """

    message: bytes = field(repr=False)
    last: bool
    may_end: bool = False


GOOD_FOR = 10.0
"""Seconds that what was decided at the head holds for a body that is still to come."""

LARGE_BODY = 256 * 1024
"""Bytes from which a body is hashed in another thread: about what hashing does in 200 microseconds."""

_TOO_LARGE = 413
_PASS_BODY = Answer(codec.encode_body_continue(), last=False, may_end=True)
_PASS_TRAILERS = Answer(codec.encode_trailers_continue(), last=False, may_end=True)
# To be added to the answer to the head; by whether the stream is to be counted, and so to be kept.
_SHOW_ANSWER = {counted: codec.encode_mode_override(trailers=counted) for counted in (False, True)}
_PASS = Answer(codec.encode_response_continue(), last=True)
# A body of known length is short enough to be buffered, and keeps its length; of one that is not known
# the first parts pass as they come.
# Where the stream is counted, the other mode must not take off what keeps it.
_SHOW_BODY, _SHOW_PARTS = (
    {
        counted: Answer(
            codec.encode_response_continue(body_mode=mode, trailers=counted), last=False, may_end=True
        )
        for counted in (False, True)
    }
    for mode in ("BUFFERED", "STREAMED")
)
_PASS_PART = Answer(codec.encode_response_body_continue(), last=False, may_end=True)
_PASS_REST = Answer(codec.encode_response_body_continue(), last=True)
_PASS_END = Answer(codec.encode_response_trailers_continue(), last=True)


class Stream:
    """The state of one stream. ``target_name`` comes from its gRPC initial metadata."""

    __slots__ = (
        "_admission",
        "_authorized",
        "_body",
        "_body_is_buffered",
        "_ended",
        "_expects_answer",
        "_head_at",
        "_head_bytes",
        "_held_back",
        "_held_for",
        "_inputs",
        "_over",
        "_pipeline",
        "_record",
        "_response",
        "_response_body",
        "_signed_with",
        "_slot",
        "_target_name",
        "_wants_body",
    )

    def __init__(self, pipeline: Pipeline, *, target_name: str | None) -> None:
        self._pipeline = pipeline
        self._target_name = target_name
        self._record = RequestRecord()
        self._ended = False
        self._wants_body = False
        self._body_is_buffered = False
        self._expects_answer = False
        self._head_at = 0.0
        self._head_bytes: RequestFingerprint | None = None
        self._admission: Admission | None = None
        self._inputs: Inputs = NO_INPUTS
        self._body = b""
        self._held_back: Exception | None = None  # the denial that waits for the body
        self._held_for: TokenDigest | None = None
        self._authorized: Authorized | None = None
        self._signed_with: Authorized | None = None
        self._response: UpstreamResponse | None = None  # one whose body tells what it says
        self._response_body = b""
        self._slot: Slot | None = None
        self._over = False

    def receive(self, message: bytes) -> Answer | Awaitable[Answer]:
        """The answer to Envoy's next message.

        To be awaited, in the event loop, only while there are no credentials yet, or a large
        body is hashed. All else is memory, and may be called from any thread.
        """
        self._record.resume()
        try:
            memory = self._pipeline.heads
            if self._record.head is None and memory.enabled and len(message) <= LONGEST:
                head_bytes = fingerprint(message, self._target_name)
                admission = memory.find(head_bytes.key)
                if admission is not None:
                    own = head_bytes.values()
                    self._record.head, self._record.own_values = admission.head, own
                    if memory.is_due():
                        memory.check(admission, own, lambda: self._admit_anew(message))
                    return self._on_admitted(admission, body_is_buffered=True)  # or it were not known
                self._head_bytes = head_bytes
            return self._on_message(self._decode(message))
        except Exception as error:  # noqa: BLE001 - every failure is an answer
            return self._deny(error)

    def abandon(self) -> None:
        """Take note that Envoy left, or was left, before the last answer. Later calls do nothing.

        Not from another thread while ``receive`` runs.
        """
        if self._expects_answer and self._response is not None:
            self._look_at(self._response)  # without its body, or with a part of it
        self._expect_no_answer()
        self._let_go()
        if self._ended:
            return
        self._ended = True
        phase = "opened" if self._record.head is None else "body" if self._wants_body else "deciding"
        self._pipeline.abandon(self._record, self._admission, phase)

    def release(self) -> None:
        """Give back all that the stream holds. To be called once it is over, in whatever way."""
        self._over = True
        if self._expects_answer:
            self._expect_no_answer()
        if self._slot is not None:
            self._slot.leave()

    def _decode(self, message: bytes) -> codec.Message:
        return codec.decode(
            message, target_name=self._target_name, with_jwt_payload=self._pipeline.reads_jwt_payload
        )

    def _admit_anew(self, message: bytes) -> Admission | ImmediateResponse | None:
        received = self._decode(message)
        if not isinstance(received, codec.HeadersMessage):
            return None
        admission = self._pipeline.admit(received.head)
        if isinstance(admission, Admission) and admission.needs_body and not received.body_is_buffered:
            return None
        return admission

    def _on_message(self, received: codec.Message) -> Answer | Awaitable[Answer]:
        if isinstance(received, codec.HeadersMessage):
            return self._on_headers(received)
        if isinstance(received, codec.BodyMessage):
            return self._on_body(received)
        if isinstance(received, codec.TrailersMessage):
            return self._on_trailers()
        if isinstance(received, codec.ResponseTrailersMessage):
            return self._kept(_PASS_END)
        if isinstance(received, codec.ResponseBodyMessage):
            return self._on_response_body(received)
        return self._on_response(received)

    def _on_headers(self, received: codec.HeadersMessage) -> Answer | Awaitable[Answer]:
        if self._record.head is not None:
            raise Denied(Reason.PROTOCOL_VIOLATION, "the head came twice")
        self._record.head = received.head
        try:
            admission = self._pipeline.admit(received.head)
        except Denied as denied:
            self._body_is_buffered = received.body_is_buffered
            if denied.reason in OF_THE_HEAD and self._may_wait(denied):
                return self._once_identified(received.head, denied)
            raise
        if isinstance(admission, ImmediateResponse):
            self._pipeline.observer.on_decision(self._record, Verdict.REPLY)
            return self._decided(codec.encode_immediate_response(admission), last=True)
        return self._on_admitted(admission, body_is_buffered=received.body_is_buffered)

    def _on_admitted(self, admission: Admission, *, body_is_buffered: bool) -> Answer | Awaitable[Answer]:
        self._admission = admission
        self._body_is_buffered = body_is_buffered
        self._record.target = admission.target.name
        self._head_at = time.monotonic()
        if admission.needs_body and not body_is_buffered:
            if admission.chunked and admission.target.payload == "unsigned":
                raise Denied(
                    Reason.BODY_CODING_REFUSED, "an aws-chunked body, and request_body_mode is not BUFFERED"
                )
            raise Denied(
                Reason.BODY_MODE_WRONG, "request_body_mode is not BUFFERED: the body would never come"
            )
        if admission.needs_body and admission.decided_by_body:
            return (
                self._continue(admission) if self._pipeline.is_open(admission) else self._once_open(admission)
            )
        self._recall(admission, b"")
        if not admission.needs_body:
            return self._answer(b"")
        return self._continue(admission) if self._authorized else self._once_authorized(admission)

    def _recall(self, admission: Admission, body: bytes) -> None:
        self._inputs = self._pipeline.read(admission, body, self._record)
        self._authorized = self._pipeline.recall(admission, self._inputs, self._record)

    def _continue(self, admission: Admission) -> Answer:
        self._remember(admission)
        self._wants_body = True
        self._record.pause()
        return Answer(codec.encode_continue(admission.removed) + self._wish(admission), last=False)

    def _wish(self, admission: Admission) -> bytes:
        """What the answer to the head says beside: that the upstream's answer is to be shown, if it is."""
        # In another body mode the wish would change the request's own, and have a body buffered.
        self._expects_answer = self._body_is_buffered and self._pipeline.expects_answer(admission)
        return _SHOW_ANSWER[self._pipeline.counts(admission)] if self._expects_answer else b""

    # Envoy buffers the body meanwhile. A token that is refused must not hold a stream, and a
    # buffer in Envoy, for as long as its sender likes: so "continue" waits for these two.

    async def _once_open(self, admission: Admission) -> Answer:
        try:
            await asyncio.shield(self._pipeline.open(admission, self._record))
            return self._continue(admission)
        except Exception as error:  # noqa: BLE001 - every failure is an answer
            return self._deny(error)

    async def _once_identified(self, head: RequestHead, denied: Denied) -> Answer:
        try:
            await self._pipeline.identify(head)
        except Exception:  # noqa: BLE001 - whoever it is, the request is refused for what it was
            self._body_is_buffered = False
        return self._deny(denied)

    async def _once_authorized(self, admission: Admission) -> Answer:
        try:
            obtaining = self._pipeline.authorize(admission, self._inputs, self._record)
            self._authorized = await asyncio.shield(obtaining)
            return self._continue(admission)
        except Exception as error:  # noqa: BLE001 - every failure is an answer
            return self._deny(error)

    def _on_body(self, received: codec.BodyMessage) -> Answer | Awaitable[Answer]:
        self._body, self._body_is_buffered = received.body, False
        if self._held_back is not None:
            raise self._held_back
        if self._admission is None:
            raise Denied(Reason.PROTOCOL_VIOLATION, "a body came before its head")
        self._wants_body = False
        if self._signed_with is not None:
            return _PASS_BODY  # signed at its head, and still here to observe the upstream
        if self._admission.decided_by_body:
            self._recall(self._admission, received.body)
        elif time.monotonic() - self._head_at > GOOD_FOR:
            # A held-up body must not outlive its token, its credentials or a revocation.
            self._authorized = self._pipeline.recall(self._admission, self._inputs, self._record)
        return self._answer(received.body)

    def _on_trailers(self) -> Answer:
        if self._held_back is not None:
            raise self._held_back
        if self._signed_with is None:
            # Envoy sends no body message then, and would take our silence for consent.
            raise Denied(Reason.REQUEST_AMBIGUOUS, "trailers came in place of the body")
        return _PASS_TRAILERS

    def _on_response(self, received: UpstreamResponse) -> Answer:
        if self._signed_with is None:
            # Envoy's own reply, where answers are looked at. It is no reason to let anything pass.
            if received.status == _TOO_LARGE:
                raise Denied(Reason.BODY_TOO_LARGE, "over Envoy's buffer")
            if self._wants_body and received.status >= 400:  # noqa: PLR2004 - RFC 9110 15.5, 15.6
                self.abandon()  # the client was too slow, for instance; nothing was forwarded
                return _PASS
            raise Denied(Reason.PROTOCOL_VIOLATION, "a response came before its request was signed")
        if body_tells(received):
            self._response = received
            show = _SHOW_PARTS if received.content_length is None else _SHOW_BODY
            return show[self._slot is not None]
        self._look_at(received)
        return self._kept(_PASS)

    def _on_response_body(self, received: codec.ResponseBodyMessage) -> Answer:
        if self._signed_with is None or self._response is None:
            raise Denied(Reason.PROTOCOL_VIOLATION, "a response's body came unasked")
        self._response_body += received.body[:LONGEST_BODY]
        if received.is_last or len(self._response_body) >= LONGEST_BODY:
            self._look_at(self._response)
            return self._kept(_PASS_REST)
        return _PASS_PART

    def _look_at(self, response: UpstreamResponse) -> None:
        """Learn from the upstream's answer. The client gets it, whatever comes of that."""
        if not self._expects_answer:
            return
        self._expects_answer = False
        assert self._admission is not None  # noqa: S101 - something was signed
        assert self._signed_with is not None  # noqa: S101
        try:
            self._pipeline.answered(
                self._admission, self._signed_with, response, self._response_body, self._record
            )
        except Exception as error:  # noqa: BLE001 - the request is done
            _log.error("answer_not_looked_at", error=type(error).__name__)

    def _expect_no_answer(self) -> None:
        if self._expects_answer:
            self._expects_answer = False
            assert self._admission is not None  # noqa: S101 - asked for with it
            self._pipeline.unanswered(self._admission)

    def _kept(self, answer: Answer) -> Answer:
        """The answer as the stream's last, unless the stream is still to be counted."""
        if self._signed_with is None:
            raise Denied(Reason.PROTOCOL_VIOLATION, "a response came before its request was signed")
        return answer if self._slot is None else Answer(answer.message, last=False, may_end=True)

    def _answer(self, body: bytes) -> Answer | Awaitable[Answer]:
        assert self._admission is not None  # noqa: S101 - narrowed by the callers
        if (
            self._authorized is not None
            and len(body) < LARGE_BODY
            and self._enter(self._admission, self._authorized)
        ):
            return self._allow(self._authorized, self._pipeline.payload(self._admission, body))
        return self._later(self._admission, body)

    def _enter(self, admission: Admission, authorized: Authorized) -> bool:
        """Whether the target has a free slot for the request, or needs none; else it stands in line."""
        if self._slot is None:
            self._slot = self._pipeline.enter(admission, authorized)
            if self._slot is None:
                return True
            if self._over:  # Envoy left, and release came before there was a slot
                self._slot.leave()
        return self._slot.is_open

    async def _await_slot(self, admission: Admission, slot: Slot) -> Authorized:
        with self._record.stage("target"):
            await slot.wait()
        # Neither a revocation nor the credentials' end may be missed meanwhile.
        authorized = self._pipeline.recall(admission, self._inputs, self._record)
        if authorized is None:
            raise Denied(Reason.CONFIGURATION_CHANGED, "the session ended while it waited for the target")
        return authorized

    async def _later(self, admission: Admission, body: bytes) -> Answer:
        try:
            obtaining = None
            if self._authorized is None:
                obtaining = self._pipeline.authorize(admission, self._inputs, self._record)
            if len(body) < LARGE_BODY:
                payload = self._pipeline.payload(admission, body)
            else:
                payload = await asyncio.to_thread(self._pipeline.payload, admission, body)
            if obtaining is not None:
                self._authorized = await asyncio.shield(obtaining)
            assert self._authorized is not None  # noqa: S101 - known already, or obtained
            if not self._enter(admission, self._authorized) and self._slot is not None:
                self._authorized = await self._await_slot(admission, self._slot)
            return self._allow(self._authorized, payload)
        except Exception as error:  # noqa: BLE001 - every failure is an answer
            return self._deny(error)

    def _allow(self, authorized: Authorized, payload: Payload) -> Answer:
        assert self._admission is not None  # noqa: S101 - set before anything is authorized
        allow: Allow = self._pipeline.allow(self._admission, authorized, payload, self._record)
        self._signed_with = authorized
        self._remember(self._admission)
        message = codec.encode_allow(allow, to_body=self._admission.needs_body)
        self._pipeline.observer.on_decision(self._record, Verdict.ALLOW)
        if not self._admission.needs_body:
            message += self._wish(self._admission)
        # Leaving now keeps nothing of us on the way of a long response; only who looks at its head, or is
        # counted as long as it lasts, stays.
        return self._decided(message, last=not self._expects_answer and self._slot is None)

    def _remember(self, admission: Admission) -> None:
        """The token is a user's; if a head of these bytes came before, it will come again."""
        head_bytes, self._head_bytes = self._head_bytes, None
        if head_bytes is None or not self._body_is_buffered:  # which a known head is taken for
            return
        if not self._pipeline.heads.comes_again(head_bytes.key):
            return
        if head_bytes.verify_layout():
            self._pipeline.heads.remember(head_bytes.key, admission)

    def _deny(self, error: Exception) -> Answer:
        if self._may_wait(error) and self._enter_held_back():
            return self._hold_back(error)
        self._let_go()
        self._expect_no_answer()
        reply = self._pipeline.deny(error, record=self._record, admission=self._admission, body=self._body)
        return self._decided(codec.encode_immediate_response(reply), last=True)

    def _may_wait(self, error: Exception) -> bool:
        """Whether the id of the request that is refused is still to come, and worth waiting for."""
        head = self._record.head
        return (
            head is not None
            and head.has_body  # or Envoy would take "continue" for the last word
            and self._held_back is None
            and self._body_is_buffered
            and not self._wants_body
            and (self._admission is None or self._admission.needs_body)
            and self._pipeline.held_back.may_wait(error, self._record.header("content-length"))
            and self._pipeline.is_mcp(head, self._admission)
        )

    def _enter_held_back(self) -> bool:
        assert self._record.head is not None  # noqa: S101 - or nothing could wait
        token = self._pipeline.token_of(self._record.head, self._admission)
        if not self._pipeline.held_back.enter(token):
            return False
        self._held_for = token
        return True

    def _hold_back(self, error: Exception) -> Answer:
        """Ask for the body of a request that is refused in any case, with nothing left on it."""
        assert self._record.head is not None  # noqa: S101 - or nothing could wait
        self._held_back = error
        self._wants_body = True
        self._record.pause()
        removed = (
            self._admission.removed
            if self._admission is not None
            else self._pipeline.withheld_names(self._record.head)
        )
        return Answer(codec.encode_continue(removed), last=False)

    def _let_go(self) -> None:
        self._held_back = None
        token, self._held_for = self._held_for, None
        if token is not None:
            self._pipeline.held_back.leave(token)

    def _decided(self, message: bytes, *, last: bool) -> Answer:
        """The deciding answer, with what Envoy's access log is to say of it."""
        self._ended = True
        return Answer(message + codec.encode_metadata(self._record), last, may_end=not last)
