"""Answers to Envoy that are the same for every request, encoded once."""

from functools import lru_cache

from extproc.ext_proc import encoding


class Answer:
    """One message for Envoy.

    Attributes:
        last: the stream ends with it.
        may_end: the request is signed, so the stream may be closed with OK although messages may follow.
    """

    __slots__ = ("last", "may_end", "message")

    def __init__(self, message: bytes, last: bool, may_end: bool = False) -> None:  # noqa: FBT001, FBT002
        self.message = message
        self.last = last
        self.may_end = may_end


REQUEST_MODE = encoding.encode_request_mode()
"""Appended to the answer to the head where ``SHOW_RESPONSE`` is not, which asks for the same and more."""


@lru_cache(maxsize=64)
def proceed(removed: tuple[str, ...], mode_override: bytes = b"") -> Answer:
    """Return "continue", without the headers that must never leave unsigned: ``removed``."""
    return Answer(encoding.encode_continue(removed) + (mode_override or REQUEST_MODE), last=False)


PASS_BODY = Answer(encoding.encode_body_continue(), last=False, may_end=True)
PASS_TRAILERS = Answer(encoding.encode_trailers_continue(), last=False, may_end=True)
PASS_RESPONSE = Answer(encoding.encode_response_continue(), last=True)
PASS_PART = Answer(encoding.encode_response_body_continue(), last=False, may_end=True)
PASS_REST = Answer(encoding.encode_response_body_continue(), last=True)
PASS_END = Answer(encoding.encode_response_trailers_continue(), last=True)
IDENTITY_CODING = encoding.encode_identity_coding()
"""Appended to the answer to the body of a request for a list of tools."""

# By whether the target's open requests are counted. Then the stream stays to the response's end, so the
# trailers are asked for, and a second mode override must ask for them again.
SHOW_RESPONSE = {counted: encoding.encode_mode_override(trailers=counted) for counted in (False, True)}
"""Appended to the answer to the head."""

# A body of known length is buffered (``body_tells`` admits short ones only), and so keeps its length. Of a
# body of unknown length the first parts pass as they come.
SHOW_BODY, SHOW_PARTS = (
    {
        counted: Answer(
            encoding.encode_response_continue(body_mode=mode, trailers=counted), last=False, may_end=True
        )
        for counted in (False, True)
    }
    for mode in ("BUFFERED", "STREAMED")
)
