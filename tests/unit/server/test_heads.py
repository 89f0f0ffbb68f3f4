"""What a head's bytes are known by: two heads of one key mean the same but for the values named in it."""

from dataclasses import replace

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest
from hypothesis import assume, given
from hypothesis import strategies as st

from extproc.errors import Denied
from extproc.server import codec
from extproc.server.heads import look_at
from extproc.values import DIFFERENT_EACH_TIME
from support.envoy_messages import headers_message

ID, OTHER_ID = "2f0ae0f0-1111-4444-8888-123456789abc", "3c1bf1a1-2222-5555-9999-cba987654321"
names = st.sampled_from([*DIFFERENT_EACH_TIME, "x-request-idx", "accept", "x-a"])
# What looks like the beginning of such a header, in the values of others and in its own.
pieces = st.sampled_from(
    ["\n", "\x0c", "x-request-id", "\x1a", "$", "\n\x0cx-request-id\x1a", "a", "-", "\xff"]
)
values = st.lists(pieces, max_size=8).map("".join) | st.text(st.characters(max_codepoint=255), max_size=150)
heads = st.lists(st.tuples(names, values), max_size=6).map(lambda headers: headers_message(headers=headers))


def decode(message):
    return codec.decode(message, target_name=None)


def key(*headers, target_name=None, **more):
    return look_at(headers_message(headers=headers, **more), target_name).key


def test_heads_that_differ_in_their_own_values_only_have_one_key():
    first = [("x-request-id", ID), ("content-length", "150"), ("accept", "*/*"), ("traceparent", "00-a-b-01")]
    second = [
        ("x-request-id", OTHER_ID),
        ("content-length", "151"),
        ("accept", "*/*"),
        ("traceparent", "00-c-d-01"),
    ]
    assert key(*first) == key(*second)
    assert look_at(headers_message(headers=second), None).values() == dict(second[:2] + second[3:])


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


@given(heads, st.data())
def test_equal_keys_mean_equal_heads_but_for_those_values(message, data):
    looked = look_at(message, None)
    head = decode(message).head
    common = looked.common(head, decode)
    assume(common is not None)
    other = message
    for start, end, _ in looked.spots:
        value = data.draw(st.binary(min_size=end - start, max_size=end - start))
        other = other[:start] + value + other[end:]
    other_looked = look_at(other, None)
    if other_looked.key != looked.key:
        return  # such a value looks like the beginning of another one
    other_head = decode(other).head
    own = other_looked.values()
    expected = tuple((name, own.get(name, value)) for name, value in common.headers)
    assert other_head == replace(common, headers=expected)
    # And what is kept has nothing of what belongs to one request.
    for name, value in common.headers:
        assert name not in own or set(value) <= {"-"}


@given(heads, st.data())
def test_no_edit_of_a_message_keeps_its_key_and_changes_its_meaning(message, data):
    looked = look_at(message, None)
    common = looked.common(decode(message).head, decode)
    assume(common is not None)
    at = data.draw(st.integers(0, len(message)))
    gone = data.draw(st.integers(0, 3))
    other = message[:at] + data.draw(st.binary(max_size=3)) + message[at + gone :]
    other_looked = look_at(other, None)
    if other_looked.key == looked.key:
        assert decode(other).head == replace(
            common,
            headers=tuple((name, other_looked.values().get(name, value)) for name, value in common.headers),
        )


@given(
    st.binary(max_size=300) | st.lists(pieces, max_size=40).map(lambda each: "".join(each).encode("latin-1"))
)
def test_any_bytes_may_be_looked_at(message):
    looked = look_at(message, None)
    assert all(0 <= start <= end for start, end, _ in looked.spots)
    looked.values()


def test_a_header_that_comes_twice_is_never_shared():
    message = headers_message(headers=[("x-request-id", ID), ("x-request-id", ID)])
    assert look_at(message, None).common(decode(message).head, decode) is None


def test_a_value_that_stands_elsewhere_is_not_taken_for_the_headers():
    """A message that Envoy would never write: the header's value in the field that is no raw value."""
    request = ProcessingRequest()
    request.request_headers.headers.headers.add(key="x-a", raw_value=b"\n\x0cx-request-id\x1a$" + ID.encode())
    request.request_headers.headers.headers.add(key="x-request-id", value=ID)
    message = request.SerializeToString()
    looked = look_at(message, None)
    assert looked.spots
    assert looked.common(decode(message).head, decode) is None


def test_what_cannot_be_decoded_with_other_values_is_not_shared():
    message = headers_message(headers=[("x-request-id", ID)])

    def refuse(_message):
        raise Denied(None)

    assert look_at(message, None).common(decode(message).head, refuse) is None
