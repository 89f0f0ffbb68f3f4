"""Denials in the form that their reader understands."""

import json

import pytest

from extproc.authn.challenge import ProtectedResource
from extproc.authn.origin import Origins
from extproc.errors import Denied, Reason
from extproc.policy.mcp_envelope import UNKNOWN, Envelope
from extproc.request.denial_responses import DenialResponses, shown_text
from extproc.values import RequestHead
from support.tables import each_case

HEAD = RequestHead("POST", "/mcp", "mcp.example", (), has_body=True)
CALL = Envelope(7, "tools/call")


def denials(**options):
    resource = ProtectedResource(url="https://mcp.example/mcp", authorization_servers=["https://idp.example"])
    return DenialResponses(resource=resource, origins=Origins(frozenset()), **options)


def told(reason, message=CALL, *, request_id="r-1", denied=None, **options):
    reply = denials(**options).reply(denied or Denied(reason), HEAD, request_id=request_id, message=message)
    return reply.status, json.loads(reply.body)


@each_case("reason", Reason)
@each_case("message", [CALL, Envelope("a", "tools/list"), Envelope(None, "notifications/x"), UNKNOWN])
@each_case("with_200", [False, True])
def test_a_posted_message_gets_a_json_rpc_answer_with_its_id_or_none(reason, message, with_200):
    _, body = told(reason, message, tell_with_200=with_200)
    assert body["jsonrpc"] == "2.0"
    assert body.get("id", "none") == ("none" if message.id is None else message.id)
    assert ("error" in body) != ("result" in body)
    if "error" in body and reason.outcome.rpc_code is None:
        assert not -32768 <= body["error"]["code"] <= -32000


@each_case("reason", [reason for reason in Reason if reason.outcome.rpc_code is None])
def test_others_get_the_oauth_members_alone(reason):
    status, body = told(reason, None, tell_with_200=True)
    assert status == reason.outcome.status
    named = {"error"} if reason.outcome.error is not None else set()
    assert body.keys() == named | {"error_description", "request_id"}
    assert told(reason)[1]["error"]["data"] == body


def test_a_denial_that_only_an_operator_can_resolve_names_the_contact_and_the_request_id():
    _, body = told(Reason.NO_ROLE, support="the platform team (#aws-help)")
    assert body["error"]["message"] == (
        "Your account has no AWS role here for this request; ask the platform team (#aws-help). (request r-1)"
    )
    assert "ask the operator of this gateway" in told(Reason.STS_MISCONFIGURED)[1]["error"]["message"]
    assert "ask" not in told(Reason.TOKEN_EXPIRED)[1]["error"]["message"]


def test_a_denial_of_a_tool_call_may_be_the_result_of_the_tool():
    status, body = told(Reason.NO_ROLE, tell_with_200=True)
    assert status == 200
    assert body["result"]["isError"]
    assert body["result"]["resultType"] == "complete"
    assert body["result"]["content"][0]["text"].startswith("Your account has no AWS role here")
    status, body = told(Reason.NO_ROLE, Envelope(7, "tools/list"), tell_with_200=True)
    assert (status, body["error"]["code"]) == (200, 10_403)


@each_case("reason", Reason)
def test_a_login_more_scopes_and_errors_in_a_message_keep_their_status(reason):
    status, body = told(reason, tell_with_200=True)
    keeps = reason.outcome.status in (400, 401) or reason is Reason.SCOPE_MISSING
    assert status == (reason.outcome.status if keeps else 200)
    assert ("error" in body) is keeps


@pytest.mark.parametrize("message", [UNKNOWN, Envelope(None, "notifications/initialized")])
def test_without_an_id_there_is_no_200_that_no_client_could_assign(message):
    assert told(Reason.NO_ROLE, message, tell_with_200=True)[0] == 403


def test_an_answer_for_the_message_itself_has_mcps_code_and_further_data():
    denied = Denied(Reason.MCP_HEADERS_DIFFER, data={"requested": "x"})
    for message in (CALL, None):
        status, body = told(None, message, denied=denied)
        assert (status, body["error"]["code"], body["error"]["data"]["requested"]) == (400, -32020, "x")


@each_case("message", [None, CALL, Envelope(7, "tools/list")])
@each_case("with_200", [False, True])
def test_what_a_person_reads_of_a_denial_is_the_same_in_every_form(message, with_200):
    denied = Denied(Reason.POLICY_DENIED, client_text="Not this tool.")
    reply = denials(tell_with_200=with_200).reply(denied, HEAD, request_id=None, message=message)
    assert shown_text(reply.body) == "Not this tool; ask the operator of this gateway."


def test_a_body_ends_with_a_line_feed_for_whoever_reads_it_in_a_terminal():
    assert denials().reply(Denied(Reason.NO_ROLE), None).body.endswith(b"}\n")
