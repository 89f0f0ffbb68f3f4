"""The body that is signed, and the default region of JSON-RPC messages."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Denied, Reason
from extproc.signing.chunked import Chunked
from extproc.signing.payload import _MOST_MEMBERS, LARGEST_MESSAGE, payload_of, with_default_region
from extproc.signing.sigv4 import Scope
from extproc.signing.targets import Target
from extproc.values import RequestHead
from support.tables import each_case

REGION = "eu-central-1"
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}'


def target(**changes):
    usual = {
        "name": "t",
        "host": "h.example",
        "scope": Scope("us-east-1", "aws-mcp"),
        "default_aws_region": REGION,
    }
    return Target(**{**usual, **changes})


def head(*headers, content_type="application/json"):
    entries = (("content-type", content_type), *headers) if content_type else headers
    return RequestHead("POST", "/mcp", "h.example", entries, True)


@each_case(
    ("before", "after"),
    [
        (
            '{"jsonrpc":"2.0","id":1,"method":"m"}',
            '{"params":{"_meta":{"AWS_REGION":"R"}},"jsonrpc":"2.0","id":1,"method":"m"}',
        ),
        (
            '{"jsonrpc":"2.0","method":"m","params":{}}',
            '{"jsonrpc":"2.0","method":"m","params":{"_meta":{"AWS_REGION":"R"}}}',
        ),
        (
            ' { "method" : "m" , "params" : { "a" : [1.0, {"params":{}}] } , "jsonrpc" : "2.0" } ',
            ' { "method" : "m" , "params" : {"_meta":{"AWS_REGION":"R"}, "a" : [1.0, {"params":{}}] } , "jsonrpc" : "2.0" } ',
        ),
        (
            '{"a":"\\"params\\":{","jsonrpc":"2.0","method":"m","params":{"x":{"_meta":{}},"_meta":{ }}}',
            '{"a":"\\"params\\":{","jsonrpc":"2.0","method":"m","params":{"x":{"_meta":{}},"_meta":{"AWS_REGION":"R" }}}',
        ),
        (
            '{"jsonrpc":"2.0","method":"m","\\u0070arams":{"_meta":{"progressToken":1}}}',
            '{"jsonrpc":"2.0","method":"m","\\u0070arams":{"_meta":{"AWS_REGION":"R","progressToken":1}}}',
        ),
    ],
    ids=["no-params", "no-meta", "spaced", "empty-meta-and-decoys", "escaped-name"],
)
def test_the_region_is_inserted_and_every_other_byte_is_kept(before, after):
    assert with_default_region(before.encode(), REGION) == after.replace('"R"', f'"{REGION}"').encode()


@each_case(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"not json",
        b'[{"jsonrpc":"2.0","method":"m"}]',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"1.0","method":"m"}',
        b'{"method":"m"}',
        b'{"jsonrpc":"2.0","method":7}',
        b'{"jsonrpc":"2.0","method":"m","params":[1]}',
        b'{"jsonrpc":"2.0","method":"m","params":null}',
        b'{"jsonrpc":"2.0","method":"m","params":{"_meta":null}}',
        b'{"jsonrpc":"2.0","method":"m","params":{"_meta":{"AWS_REGION":"us-west-2"}}}',
        b'{"jsonrpc":"2.0","method":"m","params":{"_meta":{"AWS_REGION":null}}}',
        b'{"jsonrpc":"2.0","method":"m","params":{},"params":{"_meta":{"AWS_REGION":"x"}}}',
        b'{"jsonrpc":"2.0","method":"m","x":NaN}',
        b'{"jsonrpc":"2.0","method":"m"}\xff',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","method":"m"}',
        b'{"jsonrpc":"2.0","method":"m","params":' + b"[" * 40 + b"]" * 40 + b"}",
        CALL + b" " * LARGEST_MESSAGE,
    ],
)
def test_a_body_with_a_region_or_that_is_not_one_plain_message_is_unchanged(body):
    assert with_default_region(body, REGION) is body


names = st.text(max_size=5) | st.sampled_from(["params", "_meta", "jsonrpc", "AWS_REGION"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(names, values, max_size=4),
    st.dictionaries(names, values, max_size=3) | st.none(),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_a_filled_message_means_the_same_with_one_member_more(message, params, indent, ascii_only):
    message = {**message, "jsonrpc": "2.0", "method": "m"}
    message.pop("params", None)
    if params is not None:
        message["params"] = params
    body = json.dumps(message, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace")
    expected = json.loads(body)
    meta = expected.setdefault("params", {}).setdefault("_meta", {})
    filled = json.loads(with_default_region(body, REGION))
    if isinstance(meta, dict):
        meta.setdefault("AWS_REGION", REGION)
        assert filled == expected
    else:
        assert filled == json.loads(body)


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_raise_an_error(body):
    with_default_region(body, REGION)


def test_the_hash_is_of_the_changed_body():
    payload = payload_of(CALL, head=head(), target=target())
    assert payload.changed
    assert json.loads(payload.body)["params"] == {"_meta": {"AWS_REGION": REGION}, "name": "x"}
    assert payload.hash == hashlib.sha256(payload.body).hexdigest()


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": None},
        {"content_type": "text/plain"},
        {"content_type": "application/json-seq"},
    ],
)
def test_only_a_body_that_says_it_is_json_is_changed(headers):
    assert not payload_of(CALL, head=head(**headers), target=target()).changed
    assert payload_of(
        CALL, head=head(content_type="Application/JSON; charset=utf-8"), target=target()
    ).changed


@each_case("name", ["content-encoding", "content-md5", "digest", "content-digest", "repr-digest"])
def test_an_encoded_or_digested_body_is_left_alone(name):
    assert not payload_of(CALL, head=head((name, "x")), target=target()).changed


def test_without_a_default_region_the_body_is_never_changed():
    payload = payload_of(CALL, head=head(), target=target(default_aws_region=None))
    assert payload.body is CALL
    assert not payload.changed


def test_an_unsigned_payload_is_named_so_and_not_changed():
    payload = payload_of(CALL, head=head(), target=target(payload="unsigned"))
    assert (payload.hash, payload.body) == ("UNSIGNED-PAYLOAD", CALL)


def test_no_body_shows():
    assert "hunter2" not in repr(payload_of(b"hunter2", head=head(), target=target()))


@each_case("payload", ["signed", "unsigned"])
@each_case("coding", ["", "gzip"])
def test_of_an_aws_chunked_body_the_decoded_one_is_sent_and_described(payload, coding):
    chunked = Chunked(signed=False, length=None, trailers=frozenset(), content_encoding=coding)
    decoded = payload_of(
        b"2\r\nok\r\n0\r\n\r\n", head=head(), target=target(payload=payload), chunked=chunked
    )
    assert (decoded.body, decoded.changed) == (b"ok", True)
    assert decoded.hash == (hashlib.sha256(b"ok").hexdigest() if payload == "signed" else "UNSIGNED-PAYLOAD")
    assert dict(decoded.headers).get("content-encoding", "") == coding


@pytest.mark.parametrize("separator", [",", "["])
def test_a_message_of_very_many_members_is_left_alone(separator):
    def message(count):
        filling = "[" * count + "]" * count if separator == "[" else f"[{','.join(['1'] * (count + 1))}]"
        return f'{{"jsonrpc":"2.0","method":"m","params":{{"x":{filling}}}}}'.encode()

    assert with_default_region(message(10), REGION) != message(10)
    assert with_default_region(message(_MOST_MEMBERS + 1), REGION) == message(_MOST_MEMBERS + 1)


def test_another_body_than_announced_is_refused_with_a_text():
    with pytest.raises(Denied) as denied:
        payload_of(b"{}", head=head(("x-amz-content-sha256", "0" * 64)), target=target())
    assert denied.value.reason is Reason.BODY_DIFFERS
    assert "x-amz-content-sha256" in denied.value.client_text
    assert "x-amz-content-sha256" in denied.value.detail
