"""Streams of clients whose tokens lack scopes: a challenge, the same each time, whichever way rules decide."""

import json

import pytest

from extproc.authn.challenge import ProtectedResource
from extproc.policy.matchers import cel_matcher
from extproc.policy.rules import Policy, Rule
from extproc.scopes import ScopeHierarchy
from support.driven import answers_to
from support.envoy_messages import NO_BODY, Seen, body_message, headers_message
from support.pipelines import Parts

ADMIN = "arn:aws:iam::123456789012:role/Admin"
HIERARCHY = ScopeHierarchy({"aws:*": ["aws:call"]}, named=["mcp", "aws:call"])
CHALLENGE = (
    'Bearer resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp", '
    'scope="mcp aws:call", error="insufficient_scope", '
    'error_description="The access token lacks a required scope."'
)


def parts_for(matcher, **options):
    """A rule that wants a scope where the matcher applies, and a role for everybody."""
    required = HIERARCHY.require(["aws:call"])
    guard = Rule("guard", cel_matcher(matcher), None, None, require_scopes=required, **options)
    rules = [guard, Rule("all", cel_matcher("true"), ADMIN, None)]
    return Parts(
        policy=Policy(rules=rules, fallback_role_arn=None, session_name_claim="sub", session_duration=900)
    )


def call(tool):
    params = {"name": tool, "arguments": {}}
    return json.dumps({"jsonrpc": "2.0", "id": "id-9", "method": "tools/call", "params": params}).encode()


async def drive(parts, *messages):
    *_, last = await answers_to(parts, *messages)
    assert last.last
    return Seen(last.message)


@pytest.fixture
def scoped():
    """Tokens that have the scopes that a test says."""
    granted = ["mcp nothing-of-ours"]

    def claims_with(parts):
        verify = parts.verifier.verify

        async def verified(unverified_token, *, jwt_payload=None):
            identity = await verify(unverified_token, jwt_payload=jwt_payload)
            identity.claims["scope"] = granted[0]
            return identity

        parts.verifier.verify = verified
        return parts

    return claims_with, granted


@pytest.mark.parametrize("matcher", ["true", 'mcp.tool == "run"'], ids=["claims", "mcp"])
async def test_the_challenge_is_the_same_when_the_decision_is_remembered(scoped, matcher):
    claims_with, _ = scoped
    parts = claims_with(parts_for(matcher))
    for _ in range(3):
        seen = await drive(parts, headers_message(), body_message(call("run")))
        assert (seen.status, seen.set["www-authenticate"]) == (403, CHALLENGE)
        assert seen.decision_metadata["reason"] == "scope_missing"
    assert parts.exchange.calls == 0


@pytest.mark.parametrize("matcher", ["true", 'mcp.tool == "run"'], ids=["claims", "mcp"])
@pytest.mark.parametrize("scope", ["aws:call", "mcp aws:*"])
async def test_with_the_scope_or_a_broader_one_the_request_is_signed(scoped, matcher, scope):
    claims_with, granted = scoped
    granted[0] = scope
    parts = claims_with(parts_for(matcher))
    assert (await drive(parts, headers_message(), body_message(call("run")))).is_signed


async def test_a_refused_call_is_a_json_rpc_error_with_the_calls_id(scoped):
    claims_with, _ = scoped
    seen = await drive(
        claims_with(parts_for('mcp.tool == "run"')), headers_message(), body_message(call("run"))
    )
    body = json.loads(seen.body)
    assert (body["jsonrpc"], body["id"]) == ("2.0", "id-9")
    assert body["error"]["data"]["error"] == "insufficient_scope"
    assert body["error"]["message"] == "The access token lacks the scope aws:call."


async def test_the_message_of_the_rule_is_what_the_client_reads(scoped):
    claims_with, _ = scoped
    parts = claims_with(parts_for("true", message="Scripts need your consent."))
    for _ in range(2):
        seen = await drive(parts, headers_message(), body_message(call("run")))
        assert json.loads(seen.body)["error"]["message"] == "Scripts need your consent."
        assert seen.set["www-authenticate"] == CHALLENGE


async def test_other_calls_of_the_same_token_are_signed(scoped):
    claims_with, _ = scoped
    parts = claims_with(parts_for('mcp.tool == "run"'))
    assert (await drive(parts, headers_message(), body_message(call("look")))).is_signed
    head = headers_message(method="GET", end_of_stream=True, body_mode=NO_BODY)
    assert (await drive(parts, head)).is_signed


def test_the_metadata_has_the_scopes_of_rules_and_a_401_names_those_of_issuers_only():
    resource = ProtectedResource(
        url="https://mcp.example/mcp",
        authorization_servers=["https://idp.example"],
        scopes=["mcp"],
        step_up_scopes=["aws:call", "mcp"],
    )
    document = json.loads(resource.metadata_for("GET", "/.well-known/oauth-protected-resource/mcp").body)
    assert document["scopes_supported"] == ["mcp", "aws:call"]
