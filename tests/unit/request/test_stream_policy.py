"""Streams whose decision depends on the request: it waits for the body only if a rule reads it."""

import inspect
import json

import pytest

from extproc.policy.matchers import cel_matcher
from extproc.policy.rules import Policy, Rule
from extproc.request.stream import Stream
from extproc.signing.targets import Scope, Target
from support.driven import drive
from support.envoy_messages import NO_BODY, STREAMED, body_message, headers_message
from support.pipelines import Parts

ADMIN = "arn:aws:iam::123456789012:role/Admin"
READER = "arn:aws:iam::123456789012:role/Reader"
UNSIGNED = Target(name="t", host="h.example", scope=Scope("us-east-1", "x"), payload="unsigned")


def parts_with(*matchers, **options):
    """Rules in order; a matcher with a leading "-" denies, with a "~" gives another role."""
    roles = {"-": None, "~": READER}
    rules = [
        Rule(str(n), cel_matcher(source.lstrip("-~")), roles.get(source[0], ADMIN), None)
        for n, source in enumerate(matchers)
    ]
    return Parts(
        policy=Policy(rules=rules, fallback_role_arn=None, session_name_claim="sub", session_duration=900),
        **options,
    )


def call(tool, identifier=1, **arguments):
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "method": "tools/call", "params": params}).encode()


async def test_a_tool_rule_is_decided_by_the_body_and_each_role_has_its_own_credentials():
    parts = parts_with('~mcp.tool == "look"', "true")
    tokens = [(await drive(parts, headers_message(), body_message(call(tool))))[1] for tool in ("look", "do", "look")]  # fmt: skip
    assert all(seen.is_signed for seen in tokens)
    assert (parts.verifier.calls, parts.exchange.calls) == (1, 2)
    keys = [seen.set["authorization"].split("Credential=")[1].split("/")[0] for seen in tokens]
    assert keys[0] == keys[2] != keys[1]


async def test_a_decided_tool_is_answered_without_awaiting_anything():
    parts = parts_with('-mcp.tool == "rm"', "true")
    await drive(parts, headers_message(), body_message(call("ls")))
    stream = Stream(parts.pipeline, target_name=None)
    assert not inspect.isawaitable(stream.receive(headers_message()))
    assert not inspect.isawaitable(stream.receive(body_message(call("ls", 2))))


async def test_the_token_is_verified_before_the_body_is_asked_for():
    parts = parts_with('-mcp.tool == "rm"', "true")
    (first,) = await drive(parts, headers_message())
    assert first.is_continue
    assert (parts.verifier.calls, parts.exchange.calls) == (1, 0)


async def test_a_denied_call_is_a_json_rpc_error_for_its_id_with_status_403():
    parts = parts_with('-mcp.tool == "rm"', "true")
    for _ in range(2):  # decided, and remembered
        _, second = await drive(parts, headers_message(), body_message(call("rm", "id-9")))
        body = json.loads(second.body)
        assert (second.status, body["id"], body["error"]["code"]) == (403, "id-9", 10_403)
        assert "rm" not in body["error"]["message"]
    assert parts.exchange.calls == 0


@pytest.mark.parametrize(
    "body", [b"[]", b'{"jsonrpc":"2.0","id":1,"id":1,"method":"x"}', b"[" + call("ls") + b"]"]
)
async def test_a_body_with_no_or_two_readings_is_a_400(body):
    _, second = await drive(parts_with('-mcp.tool == "rm"', "true"), headers_message(), body_message(body))
    told = json.loads(second.body)
    assert (second.status, told["error"]["code"]) == (400, -32600)
    assert "id" not in told


async def test_such_bodies_are_signed_as_ever_where_no_rule_reads_them():
    _, second = await drive(parts_with("true"), headers_message(), body_message(b"[]"))
    assert second.is_signed


async def test_a_request_without_a_body_has_no_mcp_values_and_is_decided_at_its_head():
    head = headers_message(method="GET", end_of_stream=True, body_mode=NO_BODY)
    assert (await drive(parts_with('-mcp.tool == "rm"', "true"), head))[0].is_signed
    assert (await drive(parts_with('mcp.tool == "ls"'), head))[0].status == 403


async def test_an_unsigned_payload_waits_for_the_body_too_if_a_rule_reads_it():
    parts = parts_with('-mcp.tool == "rm"', "true", targets=[UNSIGNED])
    first, second = await drive(parts, headers_message(), body_message(call("rm")))
    assert first.is_continue
    assert second.status == 403
    assert (await drive(parts, headers_message(), body_message(call("ls"))))[1].is_signed
    assert (await drive(parts, headers_message(body_mode=STREAMED)))[0].status == 500


async def test_a_body_too_large_to_be_read_is_a_413():
    parts = parts_with('-mcp.tool == "rm"', "true", max_body_bytes=600_000)
    _, second = await drive(parts, headers_message(), body_message(call("ls", text="x" * 300_000)))
    assert second.status == 413


async def test_rules_over_the_request_are_decided_at_its_head():
    parts = parts_with('~request.headers["x-team"] == "a" && request.target == "aws-mcp"')
    head = headers_message(headers=[("x-team", "a")])
    assert (await drive(parts, head, body_message(b"x")))[1].is_signed
    assert (await drive(parts, headers_message(), body_message(b"x")))[-1].status == 403


@pytest.mark.parametrize("name", ["authorization", "cookie", "x-amz-security-token"])
async def test_rules_do_not_see_credentials(name):
    parts = parts_with(f'"{name}" in request.headers')
    head = headers_message(headers=[("cookie", "a=b"), ("x-amz-security-token", "t")])
    assert (await drive(parts, head, body_message(b"x")))[-1].status == 403


@pytest.mark.parametrize(
    "header", [("content-type", "application/json; charset=utf-16"), ("content-encoding", "gzip")]
)
async def test_a_body_that_rules_cannot_read_is_not_even_asked_for(header):
    (only,) = await drive(parts_with('-mcp.tool == "rm"', "true"), headers_message(headers=[header]))
    body = json.loads(only.body)
    assert (only.status, body["error"]["code"]) == (400, -32600)


@pytest.mark.parametrize(
    "header", [("content-type", "text/plain; charset=utf-16"), ("content-encoding", "gzip")]
)
async def test_a_body_that_no_rule_reads_may_have_any_form(header):
    _, second = await drive(parts_with("true"), headers_message(headers=[header]), body_message(b"\x1f\x8b"))
    assert second.is_signed


S3 = Target(name="t", host="b.s3.us-east-1.amazonaws.com", scope=Scope("us-east-1", "s3"))
NO_MCP = Target(name="t", host="h.example", scope=Scope("us-east-1", "x"), mcp=False)
MCP_AT_S3 = Target(name="t", host="b.s3.us-east-1.amazonaws.com", scope=Scope("us-east-1", "s3"), mcp=True)
UPLOAD = {"method": "PUT", "headers": [("content-type", "image/png")]}


@pytest.mark.parametrize("target", [S3, NO_MCP], ids=["S3", "a target without MCP"])
async def test_bodies_for_what_is_no_mcp_server_are_not_read_by_rules(target):
    parts = parts_with('-mcp.tool == "rm"', '~mcp.tool == "look"', "true", targets=(target,))
    for body in (b"\x89PNG", b"[1, 2]", call("rm"), call("look")):
        seen = (await drive(parts, headers_message(**UPLOAD), body_message(body)))[-1]
        assert seen.is_signed
    assert parts.exchange.calls == 1  # one role: neither the deny rule nor the other role was met


@pytest.mark.parametrize("target", [MCP_AT_S3, UNSIGNED], ids=["S3 if it is asked for", "any other service"])
async def test_other_services_take_mcp_messages_only_where_rules_read_them(target):
    parts = parts_with('-mcp.tool == "rm"', "true", targets=(target,))
    assert (await drive(parts, headers_message(**UPLOAD)))[-1].status == 400
    assert (await drive(parts, headers_message(), body_message(call("rm"))))[-1].status == 403


async def test_what_a_deny_rule_says_is_said_again_for_a_remembered_decision():
    rules = [
        Rule("0", cel_matcher('mcp.tool == "rm"'), None, None, message="Not on Fridays."),
        Rule("1", cel_matcher("true"), ADMIN, None),
    ]
    policy = Policy(rules=rules, fallback_role_arn=None, session_name_claim="sub", session_duration=900)
    parts = Parts(policy=policy)
    for identifier in (1, 2):
        _, second = await drive(parts, headers_message(), body_message(call("rm", identifier)))
        body = json.loads(second.body)
        assert (body["id"], body["error"]["message"]) == (identifier, "Not on Fridays.")
