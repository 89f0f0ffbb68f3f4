"""The MCP message that rules read: it has one reading, and headers equal it."""

import json

import pytest

from extproc.errors import Denied, Reason
from extproc.policy.mcp import (
    MAX_COMMAS,
    MAX_CONTAINERS,
    SUPPORTED_VERSIONS,
    check_form,
    check_headers,
    parse_message,
)
from extproc.values import RequestHead
from support.tables import each_case

VERSION = "2026-07-28"


def head(**headers):
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return RequestHead("POST", "/mcp", "mcp.example", fields, has_body=True)


def body(method="tools/call", params=None, **members):
    params = {"name": "echo", "arguments": {"text": "hi"}} if params is None else params
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params, **members}).encode()


def modern(name="echo", method="tools/call", version=VERSION):
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return parse_message(body(method, {"name": name, "arguments": {}, "_meta": meta}))


@each_case(
    ("message", "variable"),
    [
        (body(), {"method": "tools/call", "tool": "echo", "arguments": {"text": "hi"}}),
        (body("prompts/get", {"name": "p"}), {"method": "prompts/get", "prompt": "p"}),
        (body("resources/read", {"uri": "x://y"}), {"method": "resources/read", "resource": "x://y"}),
        (body("tools/list", {}), {"method": "tools/list"}),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', {}),
        (b'{"jsonrpc":"2.0","method":"notifications/initialized"}', {"method": "notifications/initialized"}),
    ],
)
def test_a_message_gives_the_members_it_has_and_no_others(message, variable):
    assert parse_message(message).variable(head()) == variable


def test_session_and_version_come_from_headers_where_the_body_has_none():
    variable = parse_message(body()).variable(head(mcp_session_id="s", mcp_protocol_version="2025-11-25"))
    assert (variable["session_id"], variable["protocol_version"]) == ("s", "2025-11-25")


@each_case(
    "message",
    [
        b"[]",
        b"[" + body() + b"]",
        b'"tools/call"',
        b'{"jsonrpc":"2.0","method":"tools/list","method":"tools/call"}',
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a","name":"b"}}',
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a","Name":"b"}}',
        b'{"jsonrpc":"2.0","method":"tools/list","Method":"tools/call"}',
        b'{"jsonrpc":"2.0","method":"tools/call","params":["a"]}',
        b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}',
        b'{"jsonrpc":2.0,"id":1,"method":"tools/list"}',
        b'{"id":1,"method":"tools/list"}',
        b"{}",
        b'{"jsonrpc":"2.0","method":1}',
        b'{"jsonrpc":"2.0","method":null}',
        b'{"jsonrpc":"2.0","id":true,"method":"x"}',
        b'{"jsonrpc":"2.0","id":{},"method":"x"}',
        b'{"jsonrpc":"2.0","method":"x","params":{"a":NaN}}',
    ],
)
def test_a_message_with_no_or_two_readings_is_refused(message):
    with pytest.raises(Denied) as denied:
        parse_message(message)
    assert denied.value.reason is Reason.MCP_MALFORMED
    assert (denied.value.reason.outcome.status, denied.value.reason.outcome.rpc_code) == (400, -32600)


def refusal(message, *, headers=()):
    with pytest.raises(Denied) as denied:
        check_headers(parse_message(message), head(**dict(headers)))
    outcome = denied.value.reason.outcome
    assert outcome.status == 400
    return denied.value, outcome.rpc_code


@each_case("message", [b"", b"x", b"{", b'{"a":1,}', b"\xff" + body(), b"\xef\xbb\xbf" + body()])
def test_a_body_that_is_not_json_is_refused_as_such(message):
    assert refusal(message)[1] == -32700


@each_case(
    "message",
    [
        b'{"jsonrpc":"2.0","method":"tools/call","params":{}}',
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":1}}',
        b'{"jsonrpc":"2.0","method":"tools/call"}',
        body("resources/read", {"name": "x"}),
        body("tools/list", {"_meta": {"io.modelcontextprotocol/protocolVersion": 1}}),
    ],
)
def test_parameters_that_do_not_fit_the_method_are_invalid(message):
    assert refusal(message)[1] == -32602


def with_meta(version=VERSION, capabilities=True, method="tools/list", **members):
    meta = {"io.modelcontextprotocol/protocolVersion": version} if version else {}
    if capabilities:
        meta["io.modelcontextprotocol/clientCapabilities"] = {}
    return body(method, {"_meta": meta}, **members)


def stated(version=VERSION, method="tools/list"):
    return {"mcp_protocol_version": version, "mcp_method": method}


@each_case("version", [VERSION, "2027-01-01", "1900-01-01", "zzz"])
@each_case(
    ("message", "lacks"),
    [
        (body("tools/list", {}), "protocolVersion"),
        (body("tools/list", {"_meta": []}), "protocolVersion"),
        (body("tools/list", {"_meta": {}}), "clientCapabilities"),
        (with_meta(None), "protocolVersion"),
        (with_meta(capabilities=False), "clientCapabilities"),
    ],
)
def test_a_request_without_required_metadata_is_invalid(version, message, lacks):
    denied, code = refusal(message, headers=stated(version))
    assert code == -32602
    assert lacks in denied.client_text


@each_case("version", ["1900-01-01", "2025-11-26", "2027-01-01", "zzz", "v" * 4096])
def test_an_unknown_version_is_answered_with_the_supported_ones(version):
    denied, code = refusal(with_meta(version), headers=stated(version))
    assert code == -32022
    assert denied.data["supported"] == ["2026-07-28"]
    assert denied.data["requested"] == version[:64]


def test_supported_versions_with_their_metadata_pass():
    check_headers(parse_message(with_meta()), head(**stated()))
    for version in SUPPORTED_VERSIONS[1:]:
        check_headers(parse_message(body("tools/list", {})), head(mcp_protocol_version=version))
    check_headers(parse_message(body("initialize", {"protocolVersion": "2025-11-25"})), head())


def test_of_notifications_only_the_headers_are_checked():
    notification = parse_message(b'{"jsonrpc":"2.0","method":"notifications/x"}')
    check_headers(notification, head(**stated(method="notifications/x")))
    with pytest.raises(Denied):
        check_headers(notification, head(**stated(method="tools/call")))


def test_headers_are_checked_before_the_version():
    assert refusal(with_meta("1900-01-01"), headers=stated("1900-01-02"))[1] == -32020


@each_case(
    "message",
    [
        b'{"jsonrpc":"2.0","METHOD":"tools/list"}',
        b'{"jsonrpc":"2.0","method":"tools/list","Params":{}}',
        b'{"jsonrpc":"2.0","method":"tools/list","ID":1}',
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a","ARGUMENTS":{}}}',
        # These two letters are others by lower(), and the same by the case folding of Unicode.
        '{"jsonrpc":"2.0","method":"tools/list","param\u017f":{}}'.encode(),
        '{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a","argument\u017f":{}}}'.encode(),
    ],
)
def test_a_member_that_some_parser_reads_as_a_known_one_is_refused(message):
    with pytest.raises(Denied) as denied:
        parse_message(message)
    assert denied.value.detail.endswith("name differs from a known one by case only")


@pytest.mark.parametrize(
    ("message", "is_too_much"),
    [
        # The message itself and its list are two containers.
        (b'{"jsonrpc":"2.0","method":"x","id":[%b]}', MAX_CONTAINERS - 1),
        (b'{"jsonrpc":"2.0","method":"x","id":{"a":[%b]}}', MAX_CONTAINERS - 2),
    ],
)
def test_a_message_of_more_containers_than_the_limit_is_not_parsed(message, is_too_much):
    for count, detail in ((is_too_much - 1, "not a JSON-RPC message"), (is_too_much, "too many values")):
        with pytest.raises(Denied) as denied:
            parse_message(message % b",".join([b"[]"] * count))
        assert (denied.value.reason, denied.value.detail) == (Reason.MCP_MALFORMED, detail)


def test_a_message_of_more_values_than_the_limit_is_not_parsed():
    text = b'{"jsonrpc":"2.0","method":"x","params":{"a":[%b]}}'
    for commas, detail in ((MAX_COMMAS, None), (MAX_COMMAS + 1, "too many values")):
        message = text % (b"1" + b",1" * (commas - 2))  # two commas are the message's own
        if detail is None:
            assert parse_message(message).method == "x"
            continue
        with pytest.raises(Denied) as denied:
            parse_message(message)
        assert (denied.value.reason, denied.value.detail) == (Reason.MCP_MALFORMED, detail)


def test_the_limits_on_values_are_small_enough_to_parse_within_milliseconds():
    assert (MAX_CONTAINERS, MAX_COMMAS) == (20_000, 50_000)


@pytest.mark.parametrize(
    ("name", "header"),
    [("echo", "echo"), ("écho", "=?base64?w6ljaG8=?="), ("=?base64?x?=", "=?base64?PT9iYXNlNjQ/eD89?=")],
)
def test_headers_that_repeat_the_body_are_fine(name, header):
    check_headers(modern(name), head(mcp_method="tools/call", mcp_name=header, mcp_protocol_version=VERSION))


@each_case(
    "headers",
    [
        {"mcp_method": "tools/list", "mcp_name": "echo"},
        {"mcp_method": "tools/call", "mcp_name": "other"},
        {"mcp_method": "tools/call", "mcp_name": "ECHO"},
        {"mcp_method": "tools/call", "mcp_name": "=?base64?ZWNobw?="},
        {"mcp_method": "tools/call", "mcp_name": "=?base64?ZWNobx==?="},
        {"mcp_method": "tools/call"},
        {"mcp_name": "echo"},
        {"mcp_method": "tools/call", "mcp_name": "echo", "mcp_protocol_version": "2025-11-25"},
    ],
)
def test_headers_that_differ_are_a_400_with_the_code_of_the_specification(headers):
    with pytest.raises(Denied) as denied:
        check_headers(modern(), head(**{"mcp_protocol_version": VERSION, **headers}))
    outcome = denied.value.reason.outcome
    assert (denied.value.reason, outcome.status, outcome.rpc_code) == (Reason.MCP_HEADERS_DIFFER, 400, -32020)


def test_a_version_in_the_body_alone_does_not_get_around_the_check():
    with pytest.raises(Denied):
        check_headers(modern(), head())


def test_a_repeated_header_is_refused():
    twice = RequestHead(
        "POST", "/mcp", "", (("mcp-method", "tools/call"), ("mcp-method", "tools/call")), has_body=True
    )
    with pytest.raises(Denied):
        check_headers(parse_message(body()), twice)


def test_earlier_revisions_have_no_such_headers():
    check_headers(parse_message(body()), head(mcp_protocol_version="2025-11-25"))


def test_the_headers_of_an_earlier_client_must_be_true_too():
    with pytest.raises(Denied):
        check_headers(parse_message(body()), head(mcp_name="other"))


def typed(*fields):
    return RequestHead("POST", "/mcp", "mcp.example", fields, has_body=True)


@each_case(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json; charset=UTF-8",
        'application/json ; CHARSET="Utf-8"',
    ],
)
def test_a_body_is_json_in_utf_8(content_type):
    check_form(typed(("content-type", content_type), ("transfer-encoding", "chunked")))


def test_a_body_without_a_content_type_has_no_other_reading_than_utf_8():
    check_form(typed())


@each_case(
    "fields",
    [
        [("content-type", value)]
        for value in (
            "",
            "application/json; charset=utf-16",
            "application/json; charset=UTF-16LE",
            "application/json; charset=utf-7",
            "application/json; charset=iso-8859-1",
            "application/json; charset=utf8",
            "application/json; charset='utf-8'",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; charset=utf-16; charset=utf-8",
            "application/json; charset*=utf-16",
            "application/json; boundary=x",
            "application/json;",
            "application/json, text/plain",
            "application/json\t; charset=utf-16",
            "application/json-rpc",
            "application/jsonl",
            "text/json",
            "text/plain",
            "text/plain; application/json",
            "multipart/form-data; boundary=x",
            "multipart/mixed; boundary=x",
            "application/x-www-form-urlencoded",
            "application/cbor",
            "application/json; charset=utf-\u0131",
            "appl\u0131cation/json",
        )
    ]
    + [
        [("content-type", "application/json"), ("content-type", "application/json")],
        [("content-encoding", "gzip")],
        [("content-encoding", "identity")],
        [("content-encoding", "")],
        [("transfer-encoding", "gzip, chunked")],
        [("transfer-encoding", "chunked"), ("transfer-encoding", "gzip")],
    ],
)
def test_a_form_in_which_the_upstream_might_read_another_message_is_refused(fields):
    with pytest.raises(Denied) as denied:
        check_form(typed(*fields))
    assert denied.value.reason is Reason.MCP_MALFORMED


@each_case("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"])
def test_json_in_another_encoding_is_refused(encoding):
    with pytest.raises(Denied) as denied:
        parse_message(body().decode().encode(encoding))
    assert denied.value.reason in (Reason.MCP_MALFORMED, Reason.MCP_NOT_JSON)


@pytest.mark.parametrize(
    "params",
    [
        {"name": "rm\0"},
        {"name": "echo", "arguments": {"text": "\0"}},
        {"name": "echo", "arguments": {"a": [{"\0": 1}]}},
    ],
)
def test_a_string_that_some_programs_would_end_early_is_refused(params):
    with pytest.raises(Denied) as denied:
        parse_message(body(params=params))
    assert denied.value.reason is Reason.MCP_MALFORMED


def test_a_string_that_only_mentions_that_character_is_accepted():
    assert parse_message(body(params={"name": "echo", "arguments": {"text": "\\u0000"}})).name == "echo"
