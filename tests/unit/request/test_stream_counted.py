"""Streams that are kept because their target's open requests are counted."""

import asyncio

import pytest

from extproc.fairness.stream_slots import SlotLimit, StreamSlots
from extproc.request.stream import Stream
from support.driven import step
from support.envoy_messages import (
    NO_BODY,
    Seen,
    body_message,
    headers_message,
    response_body_message,
    response_message,
    response_trailers_message,
)
from support.pipelines import Parts
from support.tables import each_case

GET = headers_message(method="GET", end_of_stream=True, body_mode=NO_BODY)


def counting(*, open_=1, seconds=30.0, **options):
    slots = StreamSlots({"aws-mcp": SlotLimit(open_, open_, 10, seconds)})
    parts = Parts(slots=slots, **options)
    parts.slots = slots
    return parts


def open_and_waiting(parts):
    counts = parts.slots.counts()["aws-mcp"]
    return counts.open, counts.waiting


async def opened(parts):
    stream = Stream(parts.pipeline, target_name=None)
    return stream, await step(stream, GET)


async def test_the_stream_of_a_signed_request_is_kept_and_counted_until_it_is_over():
    parts = counting()
    stream, answer = await opened(parts)
    assert Seen(answer.message).is_signed
    assert (answer.last, answer.may_end) == (False, True)
    assert open_and_waiting(parts) == (1, 0)
    stream.close()
    stream.close()
    stream.close()
    assert open_and_waiting(parts) == (0, 0)


async def test_a_request_with_a_body_is_counted_from_its_signature_on():
    parts = counting()
    stream = Stream(parts.pipeline, target_name=None)
    await step(stream, headers_message())
    assert open_and_waiting(parts) == (0, 0)
    answer = await step(stream, body_message(b"x"))
    assert answer.may_end
    assert open_and_waiting(parts) == (1, 0)


async def test_without_limits_the_stream_is_left_at_once():
    _, answer = await opened(Parts())
    assert (answer.last, answer.may_end) == (True, False)


async def in_line(parts):
    """A stream whose request waits for a slot, and the answer to come."""
    stream = Stream(parts.pipeline, target_name=None)
    waiting = asyncio.ensure_future(stream.receive(GET))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return stream, waiting


async def test_a_denied_request_holds_nothing():
    parts = counting()
    stream = Stream(parts.pipeline, target_name=None)
    answer = await step(stream, headers_message(token=None))
    assert answer.last
    assert open_and_waiting(parts) == (0, 0)


async def test_a_request_waits_for_a_slot_and_is_signed_then():
    parts = counting()
    first, _ = await opened(parts)
    _, waiting = await in_line(parts)
    assert open_and_waiting(parts) == (1, 1)
    first.close()
    assert Seen((await waiting).message).is_signed
    assert open_and_waiting(parts) == (1, 0)


@pytest.mark.parametrize("seconds", [0.0, 0.01])
async def test_a_request_that_gets_none_is_denied_and_holds_nothing(seconds):
    parts = counting(seconds=seconds)
    first, _ = await opened(parts)
    _, answer = await opened(parts)
    assert answer.last
    assert Seen(answer.message).status == 429  # the fakes know one subject
    assert open_and_waiting(parts) == (1, 0)
    first.close()
    assert open_and_waiting(parts) == (0, 0)


async def test_a_client_that_leaves_while_it_waits_leaves_the_line():
    parts = counting()
    first, _ = await opened(parts)
    second, waiting = await in_line(parts)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    second.close()
    assert open_and_waiting(parts) == (1, 0)
    first.close()


async def test_a_stream_that_is_closed_leaves_the_line_before_its_wait_ends():
    parts = counting()
    first, _ = await opened(parts)
    second, waiting = await in_line(parts)
    second.close()
    assert open_and_waiting(parts) == (1, 0)
    first.close()
    assert open_and_waiting(parts) == (0, 0)
    waiting.cancel()


async def test_a_session_that_ends_while_its_request_waits_is_not_signed_for():
    parts = counting()
    first, _ = await opened(parts)
    second, waiting = await in_line(parts)
    parts.verifier.trusted = False
    first.close()
    answer = await waiting
    assert answer.last
    assert Seen(answer.message).status == 503
    second.close()
    assert open_and_waiting(parts) == (0, 0)


async def test_trailers_of_the_response_pass_and_the_stream_is_still_counted():
    parts = counting()
    stream, _ = await opened(parts)
    answer = await step(stream, response_trailers_message())
    assert Seen(answer.message).response.response_trailers is not None
    assert answer.may_end
    assert open_and_waiting(parts) == (1, 0)


async def test_trailers_before_a_signature_are_denied():
    stream = Stream(counting().pipeline, target_name=None)
    assert (await step(stream, response_trailers_message())).last


async def test_where_the_upstream_is_observed_too_the_stream_is_counted_after_that():
    parts = counting(answers="every")
    stream, answer = await opened(parts)
    assert (answer.last, answer.may_end) == (False, True)
    answer = await step(stream, response_message())
    assert (answer.last, answer.may_end) == (False, True)
    stream.close()
    assert open_and_waiting(parts) == (0, 0)


async def test_looking_at_a_body_keeps_the_trailers_mode_that_keeps_the_stream():
    parts = counting(answers="every")
    stream, _ = await opened(parts)
    answer = await step(
        stream,
        response_message("403", headers=[("content-type", "application/json"), ("content-length", "2")]),
    )
    override = Seen(answer.message).response.mode_override
    assert override.response_trailer_mode == 1  # SEND
    answer = await step(stream, response_body_message(b"{}", end_of_stream=True))
    assert answer.may_end


@each_case("answers", ["never", "every"])
@each_case("head", [GET, headers_message()], ids=["head alone", "continue"])
async def test_the_answer_to_the_head_asks_for_the_end_of_the_response_however_envoy_is_configured(
    answers, head
):
    parts = counting(answers=answers)
    answer = await step(Stream(parts.pipeline, target_name=None), head)
    mode = Seen(answer.message).response.mode_override
    assert mode.response_trailer_mode == 1
    watched = answers == "every" and head is not GET  # without a buffered body it is not asked for
    assert mode.response_header_mode == (1 if watched else 2)


async def test_where_nothing_is_counted_a_request_without_a_body_is_answered_without_another_mode():
    answer = await step(Stream(Parts().pipeline, target_name=None), GET)
    assert not Seen(answer.message).response.mode_override
