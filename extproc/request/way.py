"""The way of a request, from Envoy's first message to the last answer, without I/O.

``way`` is a generator. It is sent Envoy's messages and yields an ``Answer`` to each; or it yields a function
that returns an awaitable, is sent what that returns, and goes on. Whoever drives it (``request.stream``) has
the I/O. What each phase may be sent:

    phase     may be sent                                what it leads to
    OPENED    the request's head                         DECIDING
    DECIDING  nothing; what was waited for               an answer; or "continue", then BODY
    BODY      the request's whole body                   DECIDING, then an answer
    SIGNED    body, trailers, response, its body and     each passes unchanged; the response is learned from,
              trailers                                   and a counted stream is held open

Anything else is refused (``request.phases``). A stream that ends cleanly without its last answer would make
Envoy forward the request as it came, bearer token and all. So every message is answered, whatever happens:
all that is raised on the way is a refusal.

"Continue" is said only to a token that is verified, and already takes the token and the client's AWS headers
off the request: should Envoy ever forward it without asking again, it leaves with nothing on it. Envoy
buffers the body meanwhile, and a token that is refused must not hold a stream, and a buffer, for as long as
its sender likes: so "continue" waits for verification, and for credentials if the body decides nothing.

Where the upstream's response is to be looked at, Envoy is asked for it with the answer to the head, since it
listens to such wishes then only. Where the target's open requests are counted, the stream holds a slot and
stays until Envoy ends it, which is when the response is over or the client gone.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

import structlog

from extproc.errors import Denied, Reason
from extproc.ext_proc import decoding, encoding
from extproc.policy.inputs import NO_INPUTS
from extproc.request.admission import Admission
from extproc.request.answers import (
    PASS_BODY,
    PASS_END,
    PASS_PART,
    PASS_RESPONSE,
    PASS_REST,
    PASS_TRAILERS,
    SHOW_BODY,
    SHOW_PARTS,
    SHOW_RESPONSE,
    Answer,
)
from extproc.request.phases import OUT_OF_TURN, EnvoyReplied, Phase, Progress, receive
from extproc.request.pipeline import Pipeline
from extproc.sessions.session import Authorized
from extproc.signing.rejections import LONGEST_BODY, UpstreamResponse, body_tells
from extproc.telemetry.observer import Verdict
from extproc.values import ImmediateResponse

GOOD_FOR = 10.0
"""Seconds that what was found at the head holds for a body that is still to come."""

LARGE_BODY = 256 * 1024
"""Bytes from which a body is hashed in another thread: about what hashing does in 200 microseconds."""

_log = structlog.get_logger(__name__)

Wait = Callable[[], Awaitable[Any]]
Way = Generator[Answer | Wait | None, Any, None]


def way(p: Pipeline, target_name: str | None) -> Way:
    """Take one request all the way. ``target_name``: from the stream's gRPC initial metadata."""
    now = Progress()
    record, authorized, inputs = now.record, None, NO_INPUTS
    try:
        try:
            # Head: form, origin, bearer token, target, path.
            message = yield None
            admission = _admitted(p, now, message, target_name)
            if isinstance(admission, ImmediateResponse):
                p.observer.on_decision(record, Verdict.REPLY)
                yield now.decide(encoding.encode_immediate_response(admission), last=True)
                return

            # Session, decision, credentials; or the session alone, if the body decides.
            if admission.needs_body and admission.decided_by_body:
                session = p.authorization.session(admission) or (
                    yield partial(p.authorization.open, admission, record)
                )
            else:
                inputs = p.admission.read(admission, b"", record)
                authorized = p.authorization.lookup(admission, inputs, record) or (
                    yield partial(p.authorization.obtain, admission, inputs, record)
                )
                session = authorized.session
            p.heads.remember(now.known_by, admission)
            is_counted = p.slots.limits(admission.target.name)
            now.is_watched = now.body_is_buffered and p.responses.begin(session, admission)
            wish = SHOW_RESPONSE[is_counted] if now.is_watched else b""

            # Body. Held up for long, it must not outlive its token, its credentials or a revocation.
            found_at = time.monotonic()
            if admission.needs_body:
                yield from _body(now, encoding.encode_continue(admission.removed) + wish)
                wish = b""
            if authorized is None or time.monotonic() - found_at > GOOD_FOR:
                inputs = p.admission.read(admission, now.body, record)
                authorized = p.authorization.lookup(admission, inputs, record) or (
                    yield partial(p.authorization.obtain, admission, inputs, record)
                )
            payload = (
                p.signature.payload(admission, now.body)
                if len(now.body) < LARGE_BODY
                else (yield partial(asyncio.to_thread, p.signature.payload, admission, now.body))
            )

            # A slot of the target's, if its open requests are counted.
            if is_counted:
                now.slot = p.slots.enter(admission.target.name, session.owner)
            if now.slot is not None and not now.slot.is_open:
                with record.stage("target"):
                    yield now.slot.wait
                # Neither a revocation nor the credentials' end may be missed meanwhile.
                authorized = p.authorization.lookup_again(admission, inputs, record)

            # Signature and answer. Leaving with it keeps nothing of us on the way of a long response.
            allow = p.signature.sign(admission, authorized, payload, record)
            p.observer.on_decision(record, Verdict.ALLOW)
            message = encoding.encode_allow(allow, to_body=admission.needs_body) + wish
            answer = now.decide(message, last=not now.is_watched and now.slot is None)
            if answer.last:
                yield answer
            else:
                yield from _signed(p, now, admission, authorized, answer)
        except EnvoyReplied:
            yield PASS_RESPONSE
        except Exception as error:  # noqa: BLE001 - every failure is an answer
            yield from _refused(p, now, error)
    finally:
        _conclude(p, now, authorized)


def _admitted(
    p: Pipeline, now: Progress, message: bytes, target_name: str | None
) -> Admission | ImmediateResponse:
    """Return what is to be decided, or the answer for what needs no token.

    Raises:
        Denied: the request is malformed, has no single bearer token, or cannot be signed.
    """
    record = now.record
    record.resume()
    now.known_by = p.heads.fingerprint(message, target_name)
    admission = p.heads.find(now.known_by)
    if admission is not None and now.known_by is not None:
        record.head, record.own_values = admission.head, now.known_by.values()
        now.body_is_buffered, now.known_by = True, None  # or it were not known; and it is remembered already
        if p.heads.is_due():
            p.heads.check(admission, record.own_values, lambda: _admitted_anew(p, now, message, target_name))
    else:
        received = receive(now, message, target_name, with_jwt_payload=p.reads_jwt_payload)
        now.phase, record.head = Phase.DECIDING, received.head
        now.body_is_buffered = received.body_is_buffered
        admitted = p.admission.admit(received.head)
        if isinstance(admitted, ImmediateResponse):
            return admitted
        admission = admitted
    now.phase, now.admission, record.target = Phase.DECIDING, admission, admission.target.name
    if not now.body_is_buffered:
        now.known_by = None
        if admission.needs_body and admission.chunked and admission.target.payload == "unsigned":
            raise Denied(
                Reason.BODY_CODING_REFUSED, "an aws-chunked body, and request_body_mode is not BUFFERED"
            )
        if admission.needs_body:
            raise Denied(
                Reason.BODY_MODE_WRONG, "request_body_mode is not BUFFERED: the body would never come"
            )
    return admission


def _admitted_anew(
    p: Pipeline, now: Progress, message: bytes, target_name: str | None
) -> Admission | ImmediateResponse | None:
    """Return what is made of a known head if it is read once more; None if it was not to be remembered."""
    received = receive(now, message, target_name, with_jwt_payload=p.reads_jwt_payload)
    return p.admission.admit(received.head) if received.body_is_buffered else None


def _body(now: Progress, answer: bytes) -> Way:
    """Say "continue", and wait for the whole body.

    Raises:
        Denied: something else came in its place.
    """
    now.phase, now.body_is_buffered = Phase.BODY, False
    now.record.pause()
    message = yield Answer(answer, last=False)
    now.record.resume()
    now.body = receive(now, message).body
    now.phase = Phase.DECIDING


def _signed(p: Pipeline, now: Progress, admission: Admission, authorized: Authorized, answer: Answer) -> Way:
    """Let what follows a signed request pass, and learn from the response."""
    now.phase = Phase.SIGNED
    is_kept = now.slot is not None

    def last(passed: Answer) -> Answer:
        """Return the stream's last answer, unless the stream is still to be counted."""
        return Answer(passed.message, last=False, may_end=True) if is_kept else passed

    while not answer.last:
        received = receive(now, (yield answer))
        if isinstance(received, decoding.BodyMessage):
            answer = PASS_BODY
        elif isinstance(received, decoding.TrailersMessage):
            answer = PASS_TRAILERS
        elif isinstance(received, UpstreamResponse):
            if body_tells(received):
                now.response = received
                answer = (SHOW_PARTS if received.content_length is None else SHOW_BODY)[is_kept]
            else:
                _look_at(p, now, admission, authorized, received)
                answer = last(PASS_RESPONSE)
        elif isinstance(received, decoding.ResponseTrailersMessage):
            answer = last(PASS_END)
        elif now.response is None:
            raise Denied(*OUT_OF_TURN[decoding.ResponseBodyMessage])
        else:
            now.response_body += received.body[:LONGEST_BODY]
            if received.is_last or len(now.response_body) >= LONGEST_BODY:
                _look_at(p, now, admission, authorized, now.response)
                answer = last(PASS_REST)
            else:
                answer = PASS_PART
    yield answer


def _refused(p: Pipeline, now: Progress, error: Exception) -> Way:
    """Answer a request that is not forwarded.

    Of a known user's MCP request the body is waited for, with nothing left on the request: the id that the
    answer must repeat is in it. Without it hardly any client can tell which of its requests is refused.
    """
    head, admission = now.record.head, now.admission
    if head is not None and now.body_is_buffered and p.refusals.may_wait(error, now.record, admission):
        is_known = not p.refusals.is_of_the_head(error) or (yield partial(p.refusals.identify, head))
        token = p.refusals.token_of(head, admission) if is_known else None
        if token is not None and p.refusals.held_back.enter(token):
            try:
                yield from _body(now, encoding.encode_continue(p.refusals.withheld_names(head, admission)))
            except EnvoyReplied:
                yield PASS_RESPONSE
                return
            except Denied as denied:
                if denied.reason is not Reason.REQUEST_AMBIGUOUS:  # trailers change nothing
                    error = denied
            finally:
                p.refusals.held_back.leave(token)
    response = p.refusals.answer(error, now.record, admission, now.body)
    yield now.decide(encoding.encode_immediate_response(response), last=True)


def _look_at(
    p: Pipeline, now: Progress, admission: Admission, authorized: Authorized, response: UpstreamResponse
) -> None:
    """Learn from the upstream's response. The client gets it, whatever comes of that."""
    if now.is_watched:
        now.is_watched = False
        try:
            p.responses.look_at(admission, authorized, response, now.response_body, now.record)
        except Exception as error:  # noqa: BLE001 - the request is done
            _log.error("answer_not_looked_at", error=type(error).__name__)


def _conclude(p: Pipeline, now: Progress, authorized: Authorized | None) -> None:
    """Give back all that the request holds, in whatever way it ends."""
    if now.slot is not None:
        now.slot.leave()
    if now.is_watched and now.admission is not None:
        if now.response is not None and authorized is not None:
            _look_at(p, now, now.admission, authorized, now.response)  # with as much of its body as came
        else:
            p.responses.not_shown(now.admission)
    if not now.is_decided:
        p.refusals.abandon(now.record, now.admission, now.phase.label)
