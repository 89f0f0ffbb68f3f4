"""Streams under mappings that count for a time, or with a reason."""

import json

from extproc.policy.matchers import cel_matcher
from extproc.policy.rules import Policy, Rule
from extproc.policy.validity import ReasonSource, Validity
from extproc.signing.targets import Scope, Target
from extproc.telemetry.event import render
from support.driven import drive
from support.envoy_messages import body_message, headers_message
from support.pipelines import NOW, Parts

ADMIN = "arn:aws:iam::123456789012:role/Admin"
HEADER = "x-break-glass-reason"
TARGET = Target(
    name="aws-mcp",
    host="aws-mcp.us-east-1.api.aws",
    scope=Scope(region="us-east-1", service="aws-mcp"),
    withhold_headers=frozenset({HEADER}),
)


class Audit(list):
    """Keeps events."""


def parts_with(*rules, argument=None, **options):
    policy = Policy(
        rules=list(rules),
        fallback_role_arn=None,
        session_name_claim="sub",
        session_duration=3600,
        reason_source=ReasonSource(HEADER, argument),
    )
    return Parts(policy=policy, targets=(TARGET,), **options)


def rule(name="r", **more):
    return Rule(name, cel_matcher("true"), ADMIN, None, **more)


def request(*headers):
    return headers_message(headers=headers)


async def ask(parts, *headers, body=b"{}"):
    return (await drive(parts, request(*headers), body_message(body)))[-1]


async def test_a_remembered_decision_and_its_credentials_end_with_the_mapping():
    parts = parts_with(rule(validity=Validity(NOW + 10, NOW + 20)))
    assert (await ask(parts)).status == 403
    parts.now = NOW + 10
    assert (await ask(parts)).is_signed
    parts.now = NOW + 19.9
    assert (await ask(parts)).is_signed
    assert parts.exchange.calls == 1
    (session,) = parts.sessions.values()
    assert [live.ends_at for _, live in session.living()] == [NOW + 20]
    parts.now = NOW + 20
    assert (await ask(parts)).status == 403
    assert parts.exchange.calls == 1


async def test_the_reason_is_audited_and_does_not_leave():
    events = Audit()
    parts = parts_with(rule("incident", break_glass=True), audit=events, sample_allows=0.0)
    assert (await ask(parts)).status == 403
    seen = await ask(parts, (HEADER, "ticket\t12"))
    assert seen.is_signed
    assert HEADER in seen.removed
    assert HEADER not in seen.set
    assert HEADER not in seen.set["authorization"]
    line = json.loads(render(events[-1]))
    assert (line["level"], line["break_glass"], line["mapping"]) == ("warning", "ticket 12", "incident")
    value = parts.metrics.registry.get_sample_value
    assert value("extproc_break_glass_total", {"mapping": "incident"}) == 1


async def test_a_known_request_is_audited_with_its_own_reason():
    events = Audit()
    parts = parts_with(rule("incident", break_glass=True), audit=events)
    for reason in ("a", "b", "a", "a"):
        assert (await ask(parts, (HEADER, reason))).is_signed
    assert [json.loads(render(event))["break_glass"] for event in events] == ["a", "b", "a", "a"]
    assert (await ask(parts)).status == 403
    assert (await ask(parts, (HEADER, "a"), (HEADER, "b"))).status == 403


async def test_a_reason_with_the_token_in_it_is_refused():
    parts = parts_with(rule(break_glass=True), argument="reason")
    token = "a." + "b" * 40 + "." + "c" * 100
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "t", "arguments": {"reason": token}},
    }
    messages = headers_message(token=token), body_message(json.dumps(body).encode())
    seen = (await drive(parts, *messages))[-1]
    assert (seen.status, seen.is_signed) == (400, False)


async def test_a_reason_with_the_token_for_sts_in_it_is_refused():
    parts = parts_with(rule(break_glass=True), exchange_headers={"x-id-token"})
    for_sts = "a." + "b" * 40 + "." + "c" * 100
    assert (await ask(parts, ("x-id-token", for_sts), (HEADER, "ticket 12"))).is_signed
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "t", "arguments": {"r": for_sts}},
    }
    parts = parts_with(rule(break_glass=True), argument="r", exchange_headers={"x-id-token"})
    seen = await ask(parts, ("x-id-token", for_sts), body=json.dumps(body).encode())
    assert (seen.status, seen.is_signed) == (400, False)


async def test_the_reason_may_be_an_argument():
    parts = parts_with(rule(break_glass=True), argument="reason")
    for arguments, signed in (({"reason": "ticket 12"}, True), ({}, False)):
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "t", "arguments": arguments},
        }
        seen = await ask(parts, body=json.dumps(body).encode())
        assert seen.is_signed is signed
