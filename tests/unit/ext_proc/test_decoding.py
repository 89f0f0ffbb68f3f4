"""A body that is read without the protobuf runtime is what the runtime reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.ext_proc import decoding
from extproc.ext_proc.envoy.external_processor_pb2 import HttpBody, ProcessingRequest

USUAL = range(128, 4001)  # bytes


def encoded(body, **more):
    return ProcessingRequest(request_body=HttpBody(body=body, **more)).SerializeToString()


@pytest.mark.parametrize("length", [0, 1, 122, 127, 128, 129, 4000, 4001, 16_384, 100_000])
def test_a_body_of_usual_length_is_read_as_it_stands(length):
    body = b"x" * length
    message = encoded(body, end_of_stream=True)
    assert decoding.plain_body(message) == (body if length in USUAL else None)


@given(
    st.integers(0, 300).map(lambda length: b"\x0a" * length),
    st.integers(0, 8),
    st.integers(0, 8),
    st.binary(max_size=8),
)
def test_any_message_is_read_as_the_runtime_reads_it_or_left_to_it(body, start, length, edit):
    whole = encoded(body, end_of_stream=True)
    for message in (
        whole,
        whole[:start] + edit + whole[start + length :],
        whole[: -1 - start] + edit,
        encoded(body),
        whole + edit,
    ):
        read = decoding.plain_body(message)
        if read is not None:
            decoded = decoding.decode(message, target_name=None)
            assert isinstance(decoded, decoding.BodyMessage)
            assert decoded.body == read


@pytest.mark.parametrize(
    "message",
    [
        ProcessingRequest(request_body=HttpBody(body=b"x" * 200)),
        ProcessingRequest(response_body=HttpBody(body=b"x" * 200, end_of_stream=True)),
        ProcessingRequest(
            request_body=HttpBody(body=b"x" * 200, end_of_stream=True), observability_mode=True
        ),
    ],
    ids=["without an end", "a response's", "with another field"],
)
def test_a_message_with_anything_else_is_left_to_the_runtime(message):
    assert decoding.plain_body(message.SerializeToString()) is None
