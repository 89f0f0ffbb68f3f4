"""The phases of a stream, what Envoy may send in each, and how far one request has come."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from extproc.errors import Denied, Reason
from extproc.ext_proc import decoding
from extproc.fairness.stream_slots import Slot
from extproc.head_memory.fingerprint import RequestFingerprint
from extproc.request.admission import Admission
from extproc.request.answers import Answer
from extproc.signing.rejections import UpstreamResponse
from extproc.telemetry.record import RequestRecord

_TOO_LARGE = 413
_ERROR = 400  # RFC 9110 15.5, 15.6: from here on


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """A phase of a stream.

    Attributes:
        label: its name in telemetry, for a stream that Envoy abandons.
        may_come: the messages that Envoy may send in it.
    """

    label: str
    may_come: tuple[type, ...]


OPENED: Final = Phase("opened", (decoding.HeadersMessage,))
DECIDING: Final = Phase("deciding", ())
BODY: Final = Phase("body", (decoding.BodyMessage,))
SIGNED: Final = Phase(
    "signed",
    (
        decoding.BodyMessage,
        decoding.TrailersMessage,
        UpstreamResponse,
        decoding.ResponseBodyMessage,
        decoding.ResponseTrailersMessage,
    ),
)

_EARLY_RESPONSE = Reason.PROTOCOL_VIOLATION, "a response came before its request was signed"
OUT_OF_TURN: Mapping[type, tuple[Reason, str]] = {
    decoding.HeadersMessage: (Reason.PROTOCOL_VIOLATION, "the head came twice"),
    decoding.BodyMessage: (Reason.PROTOCOL_VIOLATION, "a body came before its head"),
    # Envoy sends no body message then, and would take silence for consent.
    decoding.TrailersMessage: (Reason.REQUEST_AMBIGUOUS, "trailers came in place of the body"),
    UpstreamResponse: _EARLY_RESPONSE,
    decoding.ResponseBodyMessage: (Reason.PROTOCOL_VIOLATION, "a response's body came unasked"),
    decoding.ResponseTrailersMessage: _EARLY_RESPONSE,
}


class EnvoyReplied(Exception):  # noqa: N818 - not an error
    """Envoy answered the client itself while the body was awaited: the body came too late, for instance."""


class Progress:
    """How far a request has come. Read at its end, whenever that comes.

    Attributes:
        fingerprint: the head's fingerprint, if the head may be worth remembering.
        body_is_buffered: whether the body can be asked for: Envoy buffers it whole, and did not send it yet.
        body: the request's body, empty until it came.
        waited: seconds that the body was waited for.
        slot: the request's slot, if the target's open requests are counted.
        is_watched: whether the upstream's response is still to be learned from.
        response: the head of a response whose body says whether AWS refused the signature.
        response_body: that body, as far as it came.
        is_decided: whether the request was signed or refused.
    """

    __slots__ = (
        "admission", "body", "body_is_buffered", "fingerprint", "is_decided", "is_watched", "phase", "record",
        "response", "response_body", "slot", "waited",
    )  # fmt: skip

    def __init__(self) -> None:
        self.record = RequestRecord()
        self.phase = OPENED
        self.fingerprint: RequestFingerprint | None = None
        self.admission: Admission | None = None
        self.body_is_buffered = False
        self.body = b""
        self.waited = 0.0
        self.slot: Slot | None = None
        self.is_watched = False
        self.response: UpstreamResponse | None = None
        self.response_body = b""
        self.is_decided = False

    def ask_for_body(self) -> None:
        """Wait for the whole body: "continue" is about to be said."""
        self.phase, self.body_is_buffered = BODY, False
        self.record.pause()

    def take_body(self, message: bytes) -> None:
        """Receive the whole body.

        Raises:
            Denied: something else came in its place.
            EnvoyReplied: the body came too late, and Envoy answered the client.
        """
        self.waited = self.record.resume()
        body = decoding.plain_body(message)
        self.body = receive(self, message).body if body is None else body
        self.phase = DECIDING

    def decide(self, message: bytes, metadata: Callable[[RequestRecord], bytes], *, last: bool) -> Answer:
        """Return the deciding answer, with what Envoy's access log is to say of it."""
        self.is_decided = True
        return Answer(message + metadata(self.record), last, may_end=not last)


def receive(
    progress: Progress, message: bytes, target_name: str | None = None, *, with_jwt_payload: bool = False
) -> Any:
    """Decode a message of Envoy's, and check that it may come in this phase.

    Raises:
        Denied: it cannot be decoded, or is out of turn.
        EnvoyReplied: it is Envoy's own answer to the client.
    """
    received = decoding.decode(message, target_name=target_name, with_jwt_payload=with_jwt_payload)
    if isinstance(received, progress.phase.may_come):
        return received
    if isinstance(received, UpstreamResponse):
        # No upstream was asked yet, so the answer is Envoy's own. It is no reason to let anything pass.
        if received.status == _TOO_LARGE:
            raise Denied(Reason.BODY_TOO_LARGE, "over Envoy's buffer")
        if progress.phase is BODY and received.status >= _ERROR:
            raise EnvoyReplied
    raise Denied(*OUT_OF_TURN[type(received)])
