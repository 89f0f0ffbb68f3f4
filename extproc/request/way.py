"""The way of a request, from Envoy's first message to the last answer, without I/O.

``way`` is a generator. It is sent Envoy's messages and yields an ``Answer`` to each; or it yields a ``Wait``,
is sent its result, and goes on. ``request.stream`` drives it and does the I/O. After an answer that may end
the stream it is sent None if that is over; else it is closed. What each phase may be sent:

    phase     may be sent                                what it leads to
    OPENED    the request's head                         DECIDING
    DECIDING  nothing; what was waited for               an answer; or "continue", then BODY
    BODY      the request's whole body                   DECIDING, then an answer
    SIGNED    body, trailers, response, its body and     each passes unchanged; the response is learned from,
              trailers                                   and a counted stream is held open

Anything else is refused (``request.phases``). A stream that ends cleanly without its last answer would make
Envoy forward the request as it came, bearer token and all. So every message is answered, whatever happens:
whatever is raised on the way becomes a refusal.

"Continue" is said only to a token that is verified, and already takes the token and the client's AWS headers
off the request: should Envoy ever forward it without asking again, it leaves with nothing on it. Envoy
buffers the body meanwhile, and the sender of a token that is refused must not be able to hold a stream and a
buffer: so "continue" waits for verification, and for credentials if the body decides nothing.

Where the upstream's response is to be looked at, Envoy is asked for it with the answer to the head, since it
accepts a mode override then only. Every "continue" also asks for the request's trailers, should Envoy not be
configured to send them: they would be all that follows a head without a body. Where the target's open
requests are counted, the stream holds a slot and stays until Envoy ends it, which is when the response is
over or the client gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

import structlog

from extproc.errors import Denied, Reason
from extproc.ext_proc import decoding, encoding
from extproc.head_memory.fingerprint import own_value
from extproc.policy.inputs import NO_INPUTS
from extproc.request.admission import Admission
from extproc.request.answers import (
    PASS_BODY,
    PASS_END,
    PASS_PART,
    PASS_RESPONSE,
    PASS_REST,
    PASS_TRAILERS,
    REQUEST_MODE,
    SHOW_BODY,
    SHOW_PARTS,
    SHOW_RESPONSE,
    Answer,
    proceed,
)
from extproc.request.held_list import held
from extproc.request.phases import DECIDING, OUT_OF_TURN, SIGNED, EnvoyReplied, Progress, receive
from extproc.request.pipeline import Pipeline
from extproc.sessions.session import Authorized
from extproc.signing.rejections import LONGEST_BODY, UpstreamResponse, body_tells
from extproc.telemetry.observer import Verdict
from extproc.values import ImmediateResponse

RECHECK_AFTER = 10.0
"""Seconds after which a late body makes us look up again what was found at the head."""

LARGE_BODY = 256 * 1024
"""Bytes from which a body is hashed in another thread: about what hashing does in 200 microseconds."""

_PASSED = {decoding.BodyMessage: PASS_BODY, decoding.TrailersMessage: PASS_TRAILERS}
"""The answers to what the signature does not cover."""

_log = structlog.get_logger(__name__)

Wait = Callable[[], Awaitable[Any]]
"""What the way waits for: called and awaited in the event loop, its result sent back."""
Way = Generator[Answer | Wait | None, Any, None]


def way(pipeline: Pipeline, target_name: str | None) -> Way:
    """Take one request from its head to its last answer; ``target_name`` is from the gRPC metadata."""
    progress = Progress()
    record, authorized, inputs = progress.record, None, NO_INPUTS
    try:
        try:
            # Head: form, origin, bearer token, target, path.
            message = yield None
            admission = _admitted(pipeline, progress, message, target_name)
            if isinstance(admission, ImmediateResponse):
                pipeline.observer.on_decision(record, Verdict.REPLY)
                yield progress.decide(
                    encoding.encode_immediate_response(admission), pipeline.metadata, last=True
                )
                return

            # Session, decision, credentials; or the session alone, if the body decides.
            if admission.needs_body and admission.decided_by_body:
                session = pipeline.authorization.session(admission) or (
                    yield partial(pipeline.authorization.open, admission, record)
                )
            else:
                inputs = pipeline.admission.read(admission, b"", record)
                authorized = pipeline.authorization.lookup(admission, inputs, record) or (
                    yield partial(pipeline.authorization.obtain, admission, inputs, record)
                )
                session = authorized.session
            pipeline.heads.remember(
                progress.fingerprint, admission, token=session.unverified_web_identity_token
            )
            progress.is_watched = progress.body_is_buffered and pipeline.responses.begin(session, admission)
            mode_override = (
                SHOW_RESPONSE[pipeline.slots.limits(admission.target.name)] if progress.is_watched else b""
            )

            # Body. One that comes late must not outlive its token, its credentials or a revocation.
            if admission.needs_body:
                progress.ask_for_body()
                progress.take_body((yield proceed(admission.removed, mode_override)))
                mode_override = b""
            if authorized is None or progress.waited > RECHECK_AFTER:
                inputs = pipeline.admission.read(admission, progress.body, record)
                authorized = pipeline.authorization.lookup(admission, inputs, record) or (
                    yield partial(pipeline.authorization.obtain, admission, inputs, record)
                )
            payload = (
                pipeline.signature.payload(admission, progress.body)
                if len(progress.body) < LARGE_BODY
                else (yield partial(asyncio.to_thread, pipeline.signature.payload, admission, progress.body))
            )

            # A slot, if the target's open requests are counted. ``_conclude`` gives it back.
            progress.slot = pipeline.slots.enter(admission.target.name, session.owner)
            if progress.slot is not None and not progress.slot.is_open:
                with record.stage("target"):
                    yield progress.slot.wait
                # A revocation or the credentials' end may have come meanwhile.
                authorized = pipeline.authorization.lookup_again(admission, inputs, record)

            # Signature and answer. The stream ends here unless the response is to be seen, or counted.
            allow = pipeline.signature.sign(admission, authorized, payload, record)
            pipeline.observer.on_decision(record, Verdict.ALLOW)
            answer = progress.decide(
                encoding.encode_allow(allow, to_body=admission.needs_body) + mode_override,
                pipeline.metadata,
                last=not progress.is_watched and progress.slot is None,
            )
            if answer.last:
                yield answer
            else:
                signed = _signed(pipeline, progress, admission, authorized, answer)
                # A response may be long, and bodies are large: nothing of the request's stays for so long.
                progress.body = b""
                del inputs, payload, allow, answer
                yield from signed
        except EnvoyReplied:
            yield PASS_RESPONSE
        except Exception as error:  # noqa: BLE001 - every failure is an answer
            yield from _refused(pipeline, progress, error)
    finally:
        _conclude(pipeline, progress, authorized)


def _admitted(
    pipeline: Pipeline, progress: Progress, message: bytes, target_name: str | None
) -> Admission | ImmediateResponse:
    """Return the admission of the stream's first message, or the answer to a request that needs no token.

    Raises:
        Denied: the request is malformed, has no single bearer token, or cannot be signed.
    """
    record = progress.record
    record.resume()
    known, progress.fingerprint = pipeline.heads.find(message, target_name)
    if known is not None:
        admission = known.admission
        record.head, record.own_value = admission.head, partial(own_value, message, known.spots)
        progress.body_is_buffered = True  # no other head is remembered
        if pipeline.heads.is_due():
            pipeline.heads.check(
                known, message, lambda: _admitted_anew(pipeline, progress, message, target_name)
            )
    else:
        received = receive(progress, message, target_name, with_jwt_payload=pipeline.reads_jwt_payload)
        progress.phase, record.head = DECIDING, received.head
        progress.body_is_buffered = received.body_is_buffered
        admitted = pipeline.admission.admit(received.head)
        if isinstance(admitted, ImmediateResponse):
            return admitted
        admission = admitted
    progress.phase, progress.admission, record.target = DECIDING, admission, admission.target.name
    if not progress.body_is_buffered:
        progress.fingerprint = None
        if admission.needs_body and admission.chunked and admission.target.payload == "unsigned":
            raise Denied(
                Reason.BODY_CODING_REFUSED, "an aws-chunked body, and request_body_mode is not BUFFERED"
            )
        if admission.needs_body:
            raise Denied(
                Reason.BODY_MODE_WRONG,
                "request_body_mode is not BUFFERED: the body would not come (extproc envoy --check)",
            )
    return admission


def _admitted_anew(
    pipeline: Pipeline, progress: Progress, message: bytes, target_name: str | None
) -> Admission | ImmediateResponse | None:
    """Return what a known head is admitted as now; None if such a head is not remembered."""
    received = receive(progress, message, target_name, with_jwt_payload=pipeline.reads_jwt_payload)
    return pipeline.admission.admit(received.head) if received.body_is_buffered else None


def _signed(
    pipeline: Pipeline, progress: Progress, admission: Admission, authorized: Authorized, answer: Answer
) -> Way:
    """Let what follows a signed request pass, and learn from the response."""
    progress.phase = SIGNED
    # A counted request without a body: Envoy is to show the response's end, whatever its configuration says.
    if not (progress.is_watched or admission.needs_body):
        answer.message += REQUEST_MODE
    if progress.is_watched and progress.record.listing is not None:
        answer = yield from _listed(pipeline, progress, admission, authorized, answer)

    while not answer.last:
        message = yield answer
        if message is None:  # the stream is over
            return
        received = receive(progress, message)
        if type(received) in _PASSED:
            answer = _PASSED[type(received)]
        elif isinstance(received, UpstreamResponse):
            answer = _shown(pipeline, progress, admission, authorized, received)
        elif isinstance(received, decoding.ResponseTrailersMessage):
            answer = _last(progress, PASS_END)
        elif progress.response is None:
            raise Denied(*OUT_OF_TURN[decoding.ResponseBodyMessage])
        else:
            progress.response_body += received.body[:LONGEST_BODY]
            if received.is_last or len(progress.response_body) >= LONGEST_BODY:
                _look_at(pipeline, progress, admission, authorized, progress.response)
                answer = _last(progress, PASS_REST)
            else:
                answer = PASS_PART
    yield answer


def _listed(
    pipeline: Pipeline, progress: Progress, admission: Admission, authorized: Authorized, answer: Answer
) -> Generator[Answer | Wait, Any, Answer]:
    """Filter a list of tools, and return the answer with which the response goes on."""
    assert pipeline.tools_lists is not None  # noqa: S101 - or no request for a list is recorded
    response, passed = yield from held(pipeline.tools_lists, progress, authorized, answer)
    if passed is None:
        return _shown(pipeline, progress, admission, authorized, response)
    _look_at(pipeline, progress, admission, authorized, response)
    return passed


def _shown(
    pipeline: Pipeline,
    progress: Progress,
    admission: Admission,
    authorized: Authorized,
    response: UpstreamResponse,
) -> Answer:
    """Return the answer to the head of a response."""
    if body_tells(response):
        progress.response = response
        return (SHOW_PARTS if response.content_length is None else SHOW_BODY)[progress.slot is not None]
    _look_at(pipeline, progress, admission, authorized, response)
    return _last(progress, PASS_RESPONSE)


def _last(progress: Progress, passed: Answer) -> Answer:
    """Return the stream's last answer, unless the stream is still to be counted."""
    return passed if progress.slot is None else Answer(passed.message, last=False, may_end=True)


def _refused(pipeline: Pipeline, progress: Progress, error: Exception) -> Way:
    """Answer a request that is not forwarded.

    If a known user's MCP request is denied, its body is received first, since it has the id that the answer
    must repeat (``request.waiting_denials``). The request has no token and no AWS headers any more.
    """
    head, admission = progress.record.head, progress.admission
    if (
        head is not None
        and progress.body_is_buffered
        and pipeline.refusals.may_wait(error, progress.record, admission)
    ):
        is_known_user = not pipeline.refusals.is_before_verification(error) or (
            yield partial(pipeline.refusals.identify, head)
        )
        token = pipeline.refusals.token_of(head, admission) if is_known_user else None
        if token is not None and pipeline.refusals.waiting.enter(token):
            try:
                progress.ask_for_body()
                progress.take_body((yield proceed(pipeline.refusals.withheld_names(head, admission))))
            except EnvoyReplied:
                yield PASS_RESPONSE
                return
            except Exception as later:  # noqa: BLE001 - every failure is an answer
                if not isinstance(later, Denied) or later.reason is not Reason.REQUEST_AMBIGUOUS:
                    error = later  # trailers change nothing
            finally:
                pipeline.refusals.waiting.leave(token)
    response = pipeline.refusals.answer(error, progress.record, admission, progress.body)
    del error  # its traceback may have this frame, and only the garbage collector would free the two
    yield progress.decide(encoding.encode_immediate_response(response), pipeline.metadata, last=True)


def _look_at(
    pipeline: Pipeline,
    progress: Progress,
    admission: Admission,
    authorized: Authorized,
    response: UpstreamResponse,
) -> None:
    """Learn from the upstream's response, once. The client gets it even if that fails."""
    if progress.is_watched:
        progress.is_watched = False
        try:
            pipeline.responses.look_at(
                admission, authorized, response, progress.response_body, progress.record
            )
        except Exception as error:  # noqa: BLE001 - the request is done
            _log.error("answer_not_looked_at", error=type(error).__name__)


def _conclude(pipeline: Pipeline, progress: Progress, authorized: Authorized | None) -> None:
    """Give back the slot and the place among watched responses, however the request ended."""
    if progress.slot is not None:
        progress.slot.leave()
    if progress.is_watched and progress.admission is not None:
        if progress.response is not None and authorized is not None:
            _look_at(
                pipeline, progress, progress.admission, authorized, progress.response
            )  # with as much of its body as came
        else:
            pipeline.responses.not_shown(progress.admission, progress.record)
    if not progress.is_decided:
        pipeline.refusals.abandon(progress.record, progress.admission, progress.phase.label)
