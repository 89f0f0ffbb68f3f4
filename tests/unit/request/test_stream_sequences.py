"""Messages in any order, of several streams at once: nothing unsigned passes, and nothing is kept for ever."""

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.fairness.stream_slots import SlotLimit, StreamSlots
from extproc.request.stream import Stream
from support.envoy_messages import (
    NO_BODY,
    Seen,
    body_message,
    headers_message,
    response_body_message,
    response_message,
    response_trailers_message,
    trailers_message,
)
from support.pipelines import Parts

_JSON = ("content-type", "application/json")
_MCP = [_JSON, ("accept", "application/json, text/event-stream"), ("content-length", "2")]

REQUEST = {
    "GET": headers_message(method="GET", end_of_stream=True),
    "POST": headers_message(),
    "MCP": headers_message(headers=_MCP),
    "no token": headers_message(token=None),
    "an origin": headers_message(headers=[("origin", "https://evil.example")]),
    "another body mode": headers_message(body_mode=NO_BODY),
    "body": body_message(),
    "large body": body_message(b"x" * 2000),
    "trailers": trailers_message(),
}
RESPONSE = {
    "200": response_message("200"),
    "403 of known length": response_message("403", headers=[_JSON, ("content-length", "2")]),
    "403 of unknown length": response_message("403", headers=[_JSON]),
    "expired": response_message("403", "ExpiredTokenException"),
    "408": response_message("408"),
    "413": response_message("413"),
    "100": response_message("100"),
    "a part": response_body_message(b"{", end_of_stream=False),
    "a large part": response_body_message(b"x" * 20_000, end_of_stream=False),
    "the last part": response_body_message(b"}"),
    "response trailers": response_trailers_message(),
}
MESSAGES = REQUEST | RESPONSE | {"nonsense": b"\xff\xff"}
LEAVES = "leaves"


class Driven:
    """A stream as an engine drives it. Whatever it answers is judged as Envoy would take it."""

    def __init__(self, parts):
        self._stream = Stream(parts.pipeline, target_name=None)
        self._sent = []
        self.signed = 0
        self._over = False

    async def send(self, name):
        if self._over:
            return
        if name == LEAVES:
            self.leave()
            return
        answer = self._stream.receive(MESSAGES[name])
        answer = await answer if inspect.isawaitable(answer) else answer
        seen = Seen(answer.message)
        self.signed += seen.is_signed
        if answer.may_end:
            assert self.signed
        if answer.last:
            assert self.signed or seen.is_immediate or self._envoy_has_answered(name)
            self._end()
        self._sent.append(name)

    def _envoy_has_answered(self, name):
        """Nothing is forwarded once the client has an error of Envoy's own, while its body was waited for."""
        return name.startswith(("4", "expired"))

    def leave(self):
        if not self._over:
            self._stream.close()
            self._end()

    def _end(self):
        self._over = True
        self._stream.close()


@pytest.mark.parametrize("groups", [["admins"], ["others"]], ids=["allowed", "denied"])
@pytest.mark.parametrize("counted", [False, True], ids=["not counted", "counted"])
@settings(max_examples=2 * settings.default.max_examples)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([*MESSAGES, LEAVES])), min_size=1, max_size=24
    )
    | st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(["GET", "POST", "MCP", "body", *RESPONSE, LEAVES])),
        min_size=4,
        max_size=12,
    ),
    answers=st.sampled_from(["first", "every", "never"]),
)
async def test_whatever_comes_in_whatever_order(steps, answers, counted, groups):
    limits = {"aws-mcp": SlotLimit(open=2, of_one=2, waiting=2, seconds=0.0)} if counted else {}
    slots = StreamSlots(limits)
    parts = Parts(answers=answers, slots=slots)
    parts.verifier.groups = groups
    streams = [Driven(parts) for _ in range(3)]
    for which, name in steps:
        await streams[which].send(name)
    for stream in streams:
        stream.leave()
    assert all(stream.signed <= 1 for stream in streams)
    if groups == ["others"]:
        assert not any(stream.signed for stream in streams)
    assert parts.pipeline.responses.waiting == 0
    assert len(parts.pipeline.refusals.waiting) == 0
    assert all((count.open, count.waiting) == (0, 0) for count in slots.counts().values())
