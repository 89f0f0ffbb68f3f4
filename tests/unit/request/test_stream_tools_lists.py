"""Streams whose target filters lists of tools: no list reaches a client but a filtered one."""

import json

import pytest

from extproc.errors import Reason
from extproc.ext_proc.envoy.external_processor_pb2 import ProcessingResponse
from extproc.fairness.pool import Busy, BusyError
from extproc.fairness.stream_slots import SlotLimit, StreamSlots
from extproc.policy.matchers import cel_matcher
from extproc.policy.rules import Policy, Rule
from extproc.request import tools_lists
from extproc.signing.targets import Scope, Target
from support.driven import answers_to
from support.envoy_messages import (
    BUFFERED,
    NO_BODY,
    SENT,
    Seen,
    body_message,
    headers_message,
    response_body_message,
    response_message,
    response_trailers_message,
    trailers_message,
)
from support.pipelines import Parts
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/R"
JSON_TYPE = ("content-type", "application/json")
EVENTS = ("content-type", "text/event-stream")
LIST = {"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {}}


def parts_with(matcher='mcp.tool == "rm"', *, counted=False, sign=(), **options):
    target = Target(
        name="aws-mcp",
        host="aws-mcp.us-east-1.api.aws",
        scope=Scope(region="us-east-1", service="aws-mcp"),
        sign_headers=frozenset(sign),
        filter_tools_list=True,
    )
    policy = Policy(
        rules=[Rule("no", cel_matcher(matcher), None, None), Rule("r", cel_matcher("true"), ROLE, None)],
        fallback_role_arn=None,
        session_name_claim="sub",
        session_duration=900,
    )
    if counted:
        slots = StreamSlots()
        slots.apply({"aws-mcp": SlotLimit(open=9, of_one=9, waiting=9, seconds=1.0)})
        options["slots"] = slots
    return Parts(policy=policy, targets=(target,), **options)


def request(message=LIST, *headers):
    return headers_message(headers=(JSON_TYPE, *headers)), body_message(json.dumps(message).encode())


def listed(*names, identifier=7):
    tools = [{"name": name} for name in names]
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "result": {"tools": tools}}).encode()


def response(body, *headers, status="200"):
    return response_message(status, headers=headers or (JSON_TYPE,)), response_body_message(body)


async def answers(parts, *messages):
    return await answers_to(parts, *messages)


def mode_of(answer):
    return Seen(answer.message).response.mode_override


def request_changes_of(answer):
    """The header mutation as protobuf merges it, as Envoy does: that of the signature, and one more."""
    common = ProcessingResponse.FromString(answer.message).request_body.response.header_mutation
    return {
        option.header.key: option.header.raw_value for option in common.set_headers
    }, common.remove_headers


def changes_of(answer):
    common = Seen(answer.message).response.response_body.response
    headers = common.header_mutation.set_headers if common.header_mutation else []
    return {option.header.key: option.header.raw_value for option in headers}, common.body_mutation


def body_of(answer):
    _, mutation = changes_of(answer)
    return bytes(mutation.body or b"") if mutation else b""


async def test_the_list_is_held_back_and_loses_what_rules_deny():
    found = await answers(parts_with(), *request(), *response(listed("ls", "rm")))
    head, signed, shown, filtered = found
    assert mode_of(head).response_header_mode == SENT
    assert mode_of(head).response_body_mode == NO_BODY
    headers, removed = request_changes_of(signed)
    assert headers["authorization"].startswith(b"AWS4-HMAC-SHA256 ")
    assert headers["accept-encoding"] == b"identity"
    assert "accept-encoding" in removed
    assert mode_of(shown).response_body_mode == BUFFERED
    assert json.loads(body_of(filtered)) == json.loads(listed("ls"))
    assert changes_of(filtered)[0]["content-length"].decode() == str(len(body_of(filtered)))
    # No answer before the last one lets the stream end, which would let the list pass.
    assert [answer.may_end for answer in found[:-1]] == [False, False, False]
    assert filtered.last


async def test_a_list_that_loses_nothing_passes_unchanged():
    *_, passed = await answers(parts_with(), *request(), *response(listed("ls")))
    assert passed.last
    assert not body_of(passed)


async def test_events_are_filtered_too():
    body = b"event: message\ndata: " + listed("ls", "rm") + b"\n\n"
    *_, filtered = await answers(parts_with(), *request(), *response(body, EVENTS))
    assert body_of(filtered).startswith(b"event: message\ndata: {")
    assert b'"rm"' not in body_of(filtered)


@each_case(
    ("head", "body"),
    [
        ((("content-type", "text/plain"),), listed("ls")),
        ((JSON_TYPE, ("content-encoding", "gzip")), listed("ls")),
        ((JSON_TYPE, ("content-length", str(2 * 1024 * 1024))), listed("ls")),
        ((JSON_TYPE,), listed("ls", identifier=8)),
        ((JSON_TYPE,), b" " * (1024 * 1024 + 1)),
        ((EVENTS,), listed("ls")),
        ((JSON_TYPE,), b""),
    ],
)
async def test_a_list_that_cannot_be_read_becomes_an_error(head, body):
    parts = parts_with()
    *_, refused = await answers(parts, *request(), *response(body, *head))
    seen = Seen(refused.message)
    assert (refused.last, seen.status) == (True, 502)
    error = json.loads(seen.body)
    assert (error["id"], error["error"]["code"]) == (7, 10_502)
    value = parts.metrics.registry.get_sample_value
    labels = {"decision": "deny", "reason": "tools_list_unreadable", "target": "aws-mcp"}
    assert value("extproc_requests_total", labels) == 1


@pytest.mark.parametrize(
    "wrong", [body_message(b"{}"), response_body_message(b"{}"), response_trailers_message()]
)
async def test_what_comes_in_place_of_the_responses_head_becomes_an_error(wrong):
    *_, refused = await answers(parts_with(), *request(), wrong)
    assert Seen(refused.message).status == 500


async def test_what_comes_in_place_of_the_list_becomes_an_error():
    head, _ = response(b"")
    *_, refused = await answers(parts_with(), *request(), head, response_trailers_message())
    assert Seen(refused.message).status == 500


async def test_trailers_of_the_request_pass_and_do_not_let_the_stream_end():
    found = await answers(parts_with(), *request(), trailers_message(), *response(listed("rm")))
    assert not found[2].may_end
    assert json.loads(body_of(found[-1])) == json.loads(listed())


async def test_a_response_that_is_no_success_passes():
    *_, passed = await answers(parts_with(), *request(), response_message("302"))
    assert passed.last
    assert not Seen(passed.message).is_immediate


async def test_aws_refusals_are_still_learned_from():
    parts = parts_with()
    head = response_message("403", headers=(JSON_TYPE,))
    rest = response_body_message(b'{"__type":"SignatureDoesNotMatch"}')
    *_, shown, passed = await answers(parts, *request(), head, rest)
    assert mode_of(shown).response_body_mode != NO_BODY
    assert passed.last
    value = parts.metrics.registry.get_sample_value
    assert value("extproc_upstream_answers_total", {"target": "aws-mcp", "refused": "signature"}) == 1


async def test_other_messages_show_their_head_only():
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ls", "arguments": {}}}
    found = await answers(parts_with(), *request(call), *response(listed("rm")))
    assert len(found) == 3
    assert "accept-encoding" not in request_changes_of(found[1])[0]
    assert (found[1].may_end, found[2].last) == (True, True)


@pytest.mark.parametrize(
    ("method", "shown"), [("tools/call", False), ("tools/list", True), ("=?base64?dG9vbHMvbGlzdA==?=", True)]
)
async def test_the_header_of_the_method_says_which_responses_are_shown(method, shown):
    head, _ = request(LIST, ("mcp-method", method))
    (answer,) = await answers(parts_with(), head)
    assert (mode_of(answer).response_header_mode == SENT) is shown


async def test_the_method_in_the_header_must_be_that_of_the_body():
    *_, refused = await answers(parts_with(), *request(LIST, ("mcp-method", "tools/call")))
    assert Seen(refused.message).status == 400


async def test_a_counted_stream_stays_until_the_response_ends():
    parts = parts_with(counted=True)
    found = await answers(parts, *request(), *response(listed("rm")), response_trailers_message())
    assert not any(answer.last for answer in found)
    assert json.loads(body_of(found[3])) == json.loads(listed())
    assert found[3].may_end


async def test_a_coding_that_the_signature_covers_is_not_changed():
    parts = parts_with(sign=["accept-encoding"])
    found = await answers(parts, *request(LIST, ("accept-encoding", "gzip")), *response(listed("rm")))
    assert "accept-encoding" not in request_changes_of(found[1])[0]


async def test_rules_that_cost_too_much_for_the_list_make_it_an_error(monkeypatch):
    monkeypatch.setattr(tools_lists, "_COSTS", 0)
    *_, refused = await answers(parts_with(), *request(), *response(listed("ls")))
    assert Seen(refused.message).status == 502


@pytest.mark.parametrize(("cause", "status"), [(Busy.OF_ONE_USER, 429), (Busy.QUEUE_FULL, 503)])
async def test_too_many_lists_at_once_are_refused(cause, status):
    parts = parts_with()

    def busy(*_):
        raise BusyError(cause)

    parts.pipeline.tools_lists._worker.submit = busy
    *_, refused = await answers(parts, *request(), *response(listed("ls")))
    assert Seen(refused.message).status == status


async def test_a_list_that_envoy_does_not_show_is_said(capsys):
    parts = parts_with()
    await answers(parts, *request())
    value = parts.metrics.registry.get_sample_value
    assert value("extproc_upstream_answers_total", {"target": "aws-mcp", "refused": "not_shown"}) == 1
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ls", "arguments": {}}}
    await answers(parts, *request(call))
    assert capsys.readouterr().out.count("tools_list_not_shown") == 1


async def test_rules_that_read_no_message_decide_about_all_tools_alike_and_nothing_is_filtered():
    parts = parts_with('"dev" in claims.groups')
    assert parts.pipeline.tools_lists is None
    found = await answers(parts, *request())
    assert found[-1].last
    parts.pipeline.close()
    filtering = parts_with()
    filtering.pipeline.close()
    assert Reason.TOOLS_LIST_UNREADABLE.outcome.status == 502
