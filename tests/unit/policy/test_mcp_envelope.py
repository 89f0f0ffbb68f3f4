"""Which requests are recognized as MCP's, and what the error response repeats of their message."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.policy.mcp_envelope import LONGEST_PARSED, UNKNOWN, Envelope, may_be_mcp, read_envelope
from extproc.values import RequestHead
from support.tables import each_case

BOTH = ("accept", "application/json, text/event-stream")
JSON = ("content-type", "application/json")


def head(*headers, method="POST", path="/"):
    return RequestHead(method, path, "mcp.example", headers, has_body=True)


@each_case(
    "request_head",
    [
        head(BOTH, JSON),
        head(BOTH),
        head(("mcp-protocol-version", "2025-11-25"), JSON),
        head(("mcp-method", "tools/call"), ("content-type", "application/json; charset=utf-8")),
        head(("mcp-session-id", "1")),
        head(path="/mcp"),
        head(path="/aws/mcp/?x=1"),
    ],
)
def test_a_post_that_an_mcp_client_sends_is_known_by_its_head(request_head):
    assert may_be_mcp(request_head)


@each_case(
    "request_head",
    [
        head(JSON),
        head(("accept", "application/json")),
        head(BOTH, ("content-type", "application/x-amz-json-1.0")),
        head(("content-type", "application/x-www-form-urlencoded"), path="/mcp"),
        head(BOTH, method="GET", path="/mcp"),
        head(BOTH, method="DELETE", path="/mcp"),
        head(path="/mcp/other"),
        head(path="/model/x/converse"),
    ],
)
def test_other_requests_are_not_recognized(request_head):
    assert not may_be_mcp(request_head)


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "id": 2}}


@each_case(
    ("message", "envelope"),
    [
        (CALL, Envelope(1, "tools/call")),
        ({**CALL, "id": "a-1"}, Envelope("a-1", "tools/call")),
        ({**CALL, "id": ""}, Envelope("", "tools/call")),
        ({**CALL, "id": 0}, Envelope(0, "tools/call")),
        ({**CALL, "id": None}, Envelope(None, "tools/call")),
        ({**CALL, "id": True}, Envelope(None, "tools/call")),
        ({**CALL, "id": 1.5}, Envelope(None, "tools/call")),
        ({**CALL, "id": [1]}, Envelope(None, "tools/call")),
        (
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            Envelope(None, "notifications/initialized"),
        ),
        ({"jsonrpc": "2.0", "id": 7, "result": {}}, UNKNOWN),
        ({"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": "x"}}, UNKNOWN),
        ({"id": 1, "method": "tools/call"}, None),
        ({"jsonrpc": "1.0", "id": 1, "method": "tools/call"}, None),
        ({}, None),
        ([CALL], None),
        ("x", None),
    ],
)
def test_the_id_is_that_of_a_request_and_of_nothing_else(message, envelope):
    assert read_envelope(json.dumps(message).encode()) == envelope


FILLING = "x" * LONGEST_PARSED
SDKS = [
    {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"a": FILLING, "id": 6}},  # Python, Go
    {"method": "tools/call", "params": {"a": FILLING, "id": 6}, "jsonrpc": "2.0", "id": 5},  # TypeScript
    {"jsonrpc": "2.0", "method": "tools/call", "params": {"a": [FILLING]}, "id": 5},
    {"method": "tools/call", "params": {"a": ',"id":7}', "b": FILLING}, "id": 5, "jsonrpc": "2.0"},
]


@each_case("message", SDKS)
@each_case("separators", [(",", ":"), (" , ", " : ")])
def test_of_a_long_body_the_members_before_and_after_the_long_one_are_read(message, separators):
    body = json.dumps(message, separators=separators).encode()
    assert read_envelope(body) == Envelope(5, "tools/call")


def test_a_body_with_many_values_is_read_at_its_ends_as_well():
    body = json.dumps({**CALL, "params": {"a": [[]] * 30_000}}).encode()
    assert read_envelope(body) == Envelope(1, "tools/call")


scalars = st.none() | st.booleans() | st.integers() | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("id"), inner), max_leaves=8
)


@given(
    st.permutations(["jsonrpc", "id", "method", "params"]),
    st.text() | st.integers(),
    st.dictionaries(st.text() | st.sampled_from(["id", "method", "jsonrpc"]), values),
    st.booleans(),
)
def test_a_long_body_gives_its_own_id_or_none_and_never_one_of_its_parameters(
    order, identifier, params, ascii_only
):
    message = {
        "jsonrpc": "2.0",
        "id": identifier,
        "method": "m",
        "params": {"f": FILLING, **params, "g": FILLING},
    }
    body = json.dumps({name: message[name] for name in order}, ensure_ascii=ascii_only).encode(
        "utf-8", "replace"
    )
    found = read_envelope(body)
    if found not in (None, UNKNOWN) and len(body) > LONGEST_PARSED:
        assert found.id in (identifier, None)


@given(st.binary(max_size=64), st.integers(0, 2))
def test_no_body_raises_an_error(noise, times):
    read_envelope(noise + b"x" * (LONGEST_PARSED * times) + noise)


@each_case("piece", [b',"', b',"a":1', b'{"', b"\\", b',"a":"', b"[", b'"a":1,'])
def test_a_hostile_long_body_is_read_without_backtracking(piece):
    assert read_envelope(b'{"jsonrpc":"2.0"' + piece * (LONGEST_PARSED // len(piece) + 1) + b"}") in (
        None,
        UNKNOWN,
    )


@pytest.mark.parametrize("identifier", ["1ee", '"\\q"', "1.2.3"])
def test_a_long_message_without_json_at_its_ends_has_no_envelope(identifier):
    long = f'{{"jsonrpc":"2.0","method":"m","id":{identifier},"params":"{"x" * LONGEST_PARSED}"}}'
    assert read_envelope(long.encode()) is None
