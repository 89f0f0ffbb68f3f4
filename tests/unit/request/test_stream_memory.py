"""What sessions and open streams keep of requests does not grow with what clients send."""

import gc
import tracemalloc

import pytest

from extproc.request.phases import Progress
from extproc.request.stream import Stream
from support.driven import drive, step
from support.envoy_messages import body_message, headers_message, response_message
from support.pipelines import Parts

SIGNATURE = "0123456789" * 9
TOKEN = f"e30.e30.{SIGNATURE}"


@pytest.mark.parametrize(
    "message",
    [
        {"path": "/mcp?q=" + "x" * 30_000},
        {"headers": [(f"x-{n}-" + "n" * 1000, SIGNATURE) for n in range(20)]},  # removed: copies of the token
    ],
    ids=["a long path", "long names of removed headers"],
)
async def test_long_paths_and_names_are_not_kept(message):
    parts, short = Parts(), headers_message(token=TOKEN, end_of_stream=True)

    async def answered_with(**message):
        (seen,) = await drive(parts, headers_message(token=TOKEN, end_of_stream=True, **message))
        assert seen.is_signed
        return seen.set["authorization"], seen.removed

    first, again = await answered_with(**message), await answered_with(**message)
    assert first == again
    ((_, live),) = parts.sessions.values()[0].living()
    _, prepared = live.present
    kept = [prepared.begun, prepared.headers.around]
    assert len(repr(kept)) < 10_000
    await drive(parts, short)
    _, prepared = live.present
    assert prepared.begun is not None
    assert prepared.headers.around is not None


async def test_a_stream_that_waits_for_the_response_keeps_no_body():
    parts = Parts(answers="every", max_body_bytes=1_000_000)
    head, body, streams = headers_message(), body_message(b"x" * 200_000), []
    await drive(parts, head, body, response_message("200"))
    tracemalloc.start()
    try:
        for _ in range(5):
            streams.append(Stream(parts.pipeline, target_name=None))
            await step(streams[-1], head)
            assert (await step(streams[-1], body)).may_end
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 200_000
    for stream in streams:
        assert (await step(stream, response_message("200"))).last
        stream.close()


def requests_in_memory():
    return sum(isinstance(each, Progress) for each in gc.get_objects())


@pytest.mark.parametrize(
    "instead",
    [b"no message", response_message("413"), headers_message()],
    ids=["no message", "a 413", "a head"],
)
async def test_a_denial_that_gets_something_else_than_its_body_leaves_no_request_to_the_collector(instead):
    parts = Parts()
    parts.verifier.groups = []
    head = headers_message(headers=[("content-type", "application/json"), ("content-length", "2")])
    gc.collect()
    gc.disable()
    try:
        before = requests_in_memory()
        for _ in range(3):
            waits, denied = await drive(parts, head, instead)
            assert waits.is_continue
            assert denied.is_immediate
        assert requests_in_memory() == before
    finally:
        gc.enable()
