"""What we write field by field is what the protobuf runtime would write from messages."""

from dataclasses import replace

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
from extproc.telemetry.record import RequestRecord
from extproc.values import Allow, Grant, Identity, SharedHeaders

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


@given(
    subject=st.text(max_size=1100),
    mapping=st.none() | st.text(max_size=20),
    cache=st.text(max_size=20),
    reason=st.sampled_from(["", "revoked"]),
    access_key_id=st.none() | st.text("A1", max_size=20),
    own=st.floats(0, 1000),
)
def test_a_decision_is_the_struct_that_the_protobuf_runtime_encodes(
    *, subject, mapping, cache, reason, access_key_id, own
):
    record = RequestRecord()
    record.identity = Identity("https://idp.example", subject, 0.0, {}, None)
    record.grant = Grant("arn:aws:iam::123456789012:role/A", "session", 900, mapping)
    record.cache, record.decision, record.reason, record.own = cache, "allow", reason, own
    record.access_key_id, record.shared = access_key_id, SharedHeaders(())
    members = {
        "subject": subject[:1024].encode(errors="replace").decode(),
        "role_arn": record.grant.role_arn,
        "mapping": mapping,
        "access_key_id": access_key_id,
        "cache": cache,
        "decision": "allow",
        "reason": reason,
    }
    expected = ProcessingResponse()
    ours = expected.dynamic_metadata.get_or_create_struct(encoding.DECISION_NAMESPACE)
    ours.update({name: string for name, string in members.items() if string})
    ours["duration_us"] = round(own * 1_000_000)
    for _ in ("the first time", "and from memory"):
        assert ProcessingResponse.FromString(encoding.encode_metadata(record)) == expected
    if not reason:
        record.identity = replace(record.identity, subject="other")
        ours["subject"] = "other"
        assert ProcessingResponse.FromString(encoding.encode_metadata(record)) == expected


@given(st.integers(0, 2**63))
def test_varints_are_the_runtimes(number):
    assert wire.varint(number) == _VarintBytes(number)
