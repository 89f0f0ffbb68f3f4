"""What a head's bytes are known by: two heads of one key mean the same but for the values named in it."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from extproc.ext_proc import decoding, wire
from extproc.ext_proc.envoy.base_pb2 import HeaderMap, HeaderValue
from extproc.ext_proc.envoy.external_processor_pb2 import HttpHeaders, ProcessingRequest
from extproc.head_memory.fingerprint import fingerprint, head_key, own_value
from extproc.values import VOLATILE_HEADERS
from support.envoy_messages import headers_message, with_claim
from support.tables import each_case

ID, OTHER_ID = "2f0ae0f0-1111-4444-8888-123456789abc", "3c1bf1a1-2222-5555-9999-cba987654321"
names = st.sampled_from([*VOLATILE_HEADERS, "x-request-idx", "accept", "x-a"])
# What looks like the beginning of such a header, in the values of others and in its own.
pieces = st.sampled_from(
    ["\n", "\x0c", "x-request-id", "\x1a", "$", "\n\x0cx-request-id\x1a", "a", "-", "\xff"]
)
values = st.lists(pieces, max_size=8).map("".join) | st.text(st.characters(max_codepoint=255), max_size=150)


plain = st.lists(st.tuples(names, values), max_size=6).map(lambda headers: headers_message(headers=headers))
messages = plain | st.builds(with_claim, plain, values, body_mode=st.integers(0, 4))


def decode(message):
    return decoding.decode(message, target_name=None, with_jwt_payload=True)


def own_values(looked):
    return {name: own_value(looked.message, looked.spots, name) for _, _, name in looked.spots}


def key(*headers, target_name=None, **more):
    return fingerprint(headers_message(headers=headers, **more), target_name).key


def test_heads_that_differ_in_their_own_values_only_have_one_key():
    first = [("x-request-id", ID), ("content-length", "150"), ("accept", "*/*"), ("traceparent", "00-a-b-01")]
    second = [
        ("x-request-id", OTHER_ID),
        ("content-length", "151"),
        ("accept", "*/*"),
        ("traceparent", "00-c-d-01"),
    ]
    assert key(*first) == key(*second)
    assert own_values(fingerprint(headers_message(headers=second), None)) == dict(second[:2] + second[3:])


def test_whatever_else_differs_makes_another_key():
    ours = [("x-request-id", ID), ("accept", "*/*")]
    others = [
        key(("x-request-id", ID), ("accept", "*/json")),
        key(("accept", "*/*"), ("x-request-id", ID)),
        key(("x-request-id", ID[1:]), ("accept", "*/*")),
        key(("accept", "*/*")),
        key(*ours, ("content-length", "1")),
        key(*ours, token="another"),
        key(*ours, path="/other"),
        key(*ours, method="PUT"),
        key(*ours, authority="other.example"),
        key(*ours, end_of_stream=True),
        key(*ours, observability_mode=True),
        key(*ours, target_name="other"),
    ]
    assert len({key(*ours), *others}) == 1 + len(others)


def same_but_for(own, head, other):
    """Whether two heads differ in the values of these headers only."""
    blank = [[(name, "" if name in own else value) for name, value in each.headers] for each in (head, other)]
    return blank[0] == blank[1] and replace(head, headers=()) == replace(other, headers=())


def assert_one_meaning(message, other):
    """Of two messages with one key, of which the first is exact."""
    first, second = decode(message), decode(other)
    own = own_values(fingerprint(other, None))
    assert first.body_is_buffered == second.body_is_buffered
    assert same_but_for(own, first.head, second.head)
    assert all(second.head.get(name) == value for name, value in own.items())


@given(messages, st.data())
def test_equal_keys_mean_equal_heads_but_for_those_values(message, data):
    looked = fingerprint(message, None)
    assume(looked.verify_layout())
    other = message
    for start, end, _ in looked.spots:
        value = data.draw(st.binary(min_size=end - start, max_size=end - start))
        other = other[:start] + value + other[end:]
    if (
        fingerprint(other, None).key == looked.key
    ):  # unless such a value looks like the beginning of another one
        assert_one_meaning(message, other)


@given(messages, st.data())
def test_no_edit_of_a_message_keeps_its_key_and_changes_its_meaning(message, data):
    looked = fingerprint(message, None)
    assume(looked.verify_layout())
    at = data.draw(st.integers(0, len(message)))
    other = message[:at] + data.draw(st.binary(max_size=3)) + message[at + data.draw(st.integers(0, 3)) :]
    if fingerprint(other, None).key == looked.key:
        assert_one_meaning(message, other)


@given(messages, messages, st.data())
def test_spots_of_another_message_give_its_key_only_to_a_message_with_its_layout(message, other, data):
    looked = fingerprint(message, None)
    assume(looked.verify_layout())
    if data.draw(st.booleans(), "an edit of the message"):
        at = data.draw(st.integers(0, len(message)))
        other = message[:at] + data.draw(st.binary(max_size=3)) + message[at + data.draw(st.integers(0, 3)) :]
    if head_key(other, None, looked.spots) == looked.key:
        first, second = decode(message), decode(other)
        own = {name for _, _, name in looked.spots}
        assert same_but_for(own, first.head, second.head)
        assert {name: own_value(other, looked.spots, name) for name in own} == {
            name: second.head.get(name) for name in own
        }


@given(messages)
def test_what_verify_layout_is_what_the_runtime_reads(message):
    looked = fingerprint(message, None)
    if looked.verify_layout():
        headers = decode(message).head.headers
        assert sorted(own_values(looked).items()) == sorted(
            (name, value) for name, value in headers if name in VOLATILE_HEADERS
        )


@each_case("name", VOLATILE_HEADERS)
@each_case("value", [ID, "-" * 5, "-" * 200, None])
def test_a_claim_that_looks_like_such_a_header_hides_nothing(name, value):
    headers = [] if value is None else [(name, value)]
    claim = f"\n{chr(len(name))}{name}\x1a\x05"  # the body's mode follows, within five bytes
    one, other = (
        fingerprint(with_claim(headers_message(headers=headers), claim, body_mode=mode), None)
        for mode in (0, 2)
    )
    for looked in (one, other):
        # Exact only if the header itself was found, which comes first; then the claim is compared as it is.
        assert looked.verify_layout() == (value in (ID, "-" * 5))
    if one.verify_layout():
        assert one.key != other.key


@given(
    st.binary(max_size=300) | st.lists(pieces, max_size=40).map(lambda each: "".join(each).encode("latin-1"))
)
def test_any_bytes_may_be_looked_at(message):
    looked = fingerprint(message, None)
    assert all(0 <= start <= end for start, end, _ in looked.spots)
    own_values(looked)


@given(messages, st.data())
def test_no_part_of_a_message_has_the_key_of_the_whole(message, data):
    cut = message[: data.draw(st.integers(0, len(message) - 1))]
    assert fingerprint(cut, None).key != fingerprint(message, None).key


def test_a_last_value_that_is_cut_short_is_another_key():
    """The end of a value may seem to lie beyond the end of what came."""
    message = headers_message(headers=[("x-request-id", ID)])
    request = ProcessingRequest()
    request.request_headers.headers.headers.add(key="x-request-id", raw_value=ID.encode())
    for whole in (message, request.SerializeToString()):
        for shorter in range(1, len(ID)):
            assert fingerprint(whole[:-shorter], None).key != fingerprint(whole, None).key


def test_a_header_that_comes_twice_is_not_exact():
    for second in (ID, OTHER_ID, ""):
        message = headers_message(headers=[("x-request-id", ID), ("x-request-id", second)])
        assert not fingerprint(message, None).verify_layout()


def test_a_value_that_stands_elsewhere_is_not_taken_for_the_headers():
    """A message that Envoy would never write: the header's value in the field that is no raw value."""
    request = ProcessingRequest()
    request.request_headers.headers.headers.add(key="x-a", raw_value=b"\n\x0cx-request-id\x1a$" + ID.encode())
    request.request_headers.headers.headers.add(key="x-request-id", value=ID)
    looked = fingerprint(request.SerializeToString(), None)
    assert looked.spots
    assert not looked.verify_layout()


@each_case("broken", [b"\x12", b"\x12\x7f", b"\x0b\x0c", b"\xff" * 11, b"\x0d\x00"])
def test_what_is_no_message_is_not_exact(broken):
    assert not fingerprint(broken, None).verify_layout()
    assert not fingerprint(headers_message(headers=[("x-request-id", ID)]) + broken, None).verify_layout()


def taken_apart(message):
    """What stands before the header map in a head, and the map itself."""
    request = ProcessingRequest.FromString(message)
    return request.request_headers.headers.SerializeToString(), wire.field(
        wire.tag(ProcessingRequest, "protocol_config"), request.protocol_config.SerializeToString()
    )


UNKNOWN = wire.field(wire.varint(9 << 3 | 2), b"x")


@pytest.mark.parametrize(
    ("before", "after", "exact"),
    [(b"", b"", True), (UNKNOWN, b"", False), (b"", UNKNOWN, False)],
    ids=["as Envoy writes it", "another field first", "another field last"],
)
def test_a_head_with_fields_that_are_not_known_is_not_exact(before, after, exact):
    headers, rest = taken_apart(headers_message(headers=[("x-request-id", ID)]))
    of_map = wire.field(wire.tag(HttpHeaders, "headers"), before + headers + after)
    message = wire.field(wire.tag(ProcessingRequest, "request_headers"), of_map) + rest
    assert decode(message).head.values("x-request-id") == [ID]
    assert fingerprint(message, None).verify_layout() is exact


def test_a_head_in_two_pieces_is_not_exact():
    """To protobuf they are one message."""
    headers, rest = taken_apart(headers_message(headers=[("x-request-id", ID)]))
    more = HeaderMap(headers=[HeaderValue(key="x-a", raw_value=b"b")]).SerializeToString()
    pieces = b"".join(wire.field(wire.tag(HttpHeaders, "headers"), piece) for piece in (headers, more))
    message = wire.field(wire.tag(ProcessingRequest, "request_headers"), pieces) + rest
    assert decode(message).head.values("x-a") == ["b"]
    assert not fingerprint(message, None).verify_layout()
