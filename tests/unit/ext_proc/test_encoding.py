"""What we write field by field is what the protobuf runtime would write from messages."""

from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given
from hypothesis import strategies as st

from extproc.ext_proc import encoding, wire
from extproc.ext_proc.envoy.base_pb2 import HeaderValue, HeaderValueOption
from extproc.ext_proc.envoy.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    ProcessingResponse,
)
from extproc.values import Allow, SharedHeaders

names = st.text("abcdefghijklmnopqrstuvwxyz-:", min_size=1, max_size=200)
values = st.text(st.characters(max_codepoint=255), max_size=400)


def with_messages(allow, *, to_body):
    options = [
        HeaderValueOption(
            header=HeaderValue(key=name, raw_value=value.encode("latin-1")),
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in (*allow.set, *(allow.set_alike.pairs if allow.set_alike else ()))
    ]
    common = CommonResponse(
        header_mutation=HeaderMutation(set_headers=options, remove_headers=allow.remove),
        body_mutation=BodyMutation(body=allow.body) if to_body and allow.body is not None else None,
    )
    if to_body:
        return ProcessingResponse(request_body=BodyResponse(response=common))
    return ProcessingResponse(request_headers=HeadersResponse(response=common))


@given(
    st.lists(st.tuples(names, values), max_size=6),
    st.lists(names, max_size=4),
    st.none() | st.binary(max_size=20_000),
    st.none() | st.lists(st.tuples(names, values), max_size=3),
    st.booleans(),
)
def test_an_allow_is_surroundings_as_the_protobuf_runtime_encodes_it(to_set, to_remove, body, alike, to_body):
    shared = None if alike is None else SharedHeaders(tuple(alike))
    allow = Allow(tuple(to_set), tuple(to_remove), body, shared)
    for _ in ("the first time", "and from memory"):
        decoded = ProcessingResponse.FromString(encoding.encode_allow(allow, to_body=to_body))
        assert decoded == with_messages(allow, to_body=to_body)


@given(st.text("0123456789abcdef/", min_size=1, max_size=300), st.data())
def test_what_is_remembered_of_one_answer_fits_every_other(value, data):
    shared = SharedHeaders((("x-amz-date", "now"), ("x-amz-security-token", value)))
    for _ in range(3):
        signature = data.draw(st.text("0123456789abcdef", min_size=len(value), max_size=len(value)))
        for to_body in (True, False):
            allow = Allow((("authorization", signature),), ("cookie",), None, shared)
            decoded = ProcessingResponse.FromString(encoding.encode_allow(allow, to_body=to_body))
            assert decoded == with_messages(allow, to_body=to_body)


@given(st.integers(0, 2**63))
def test_varints_are_the_runtimes(number):
    assert wire.varint(number) == _VarintBytes(number)
