"""Streams under rate limits."""

import json

import pytest

from extproc.fairness.token_buckets import Rate
from extproc.policy import rate_limits
from extproc.policy.cel import EvaluationError
from extproc.policy.inputs import NO_INPUTS
from extproc.policy.matchers import cel_matcher
from extproc.policy.rate_limits import RateLimit
from extproc.policy.rules import Policy, Rule
from extproc.request.authorization import Authorization
from extproc.request.rate_limited import RateLimitedAuthorization
from extproc.telemetry.record import RequestRecord
from extproc.values import Identity
from support.driven import drive
from support.envoy_messages import body_message, headers_message
from support.pipelines import NOW, Parts, head_of

ROLE = "arn:aws:iam::123456789012:role/R"
TWO = Rate(1, 60, 2)


def parts_with(*limits, rules=("true",)):
    policy = Policy(
        rules=[Rule(str(n), cel_matcher(source), ROLE, None) for n, source in enumerate(rules)],
        fallback_role_arn=None,
        session_name_claim="sub",
        session_duration=900,
        further_reads=rate_limits.reads(limits),
    )
    return Parts(policy=policy, rate_limits=limits)


def call(tool):
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
    return body_message(json.dumps(message).encode())


async def ask(parts, tool="t", headers=(("content-type", "application/json"),), **options):
    return (await drive(parts, headers_message(headers=headers, **options), call(tool)))[-1]


async def signed(parts, *tools):
    return [(await ask(parts, tool)).is_signed for tool in tools]


async def test_a_request_too_many_is_429_with_the_time_to_wait():
    parts = parts_with(RateLimit("few", TWO, per=("subject",)))
    assert await signed(parts, "t", "t") == [True, True]
    seen = await ask(parts, headers=(("content-type", "application/json"), ("content-length", "100")))
    assert seen.status == 429
    assert seen.set["retry-after"] == "60"
    error = json.loads(seen.body)
    assert (error["id"], error["error"]["data"]["error"]) == (7, "temporarily_unavailable")
    assert parts.exchange.calls == 1


async def test_refused_requests_are_counted_by_the_name_of_the_limit():
    parts = parts_with(RateLimit("few", TWO), RateLimit("many", Rate(100, 1, 100)))
    assert await signed(parts, *"tttt") == [True, True, False, False]
    value = parts.metrics.registry.get_sample_value
    assert value("extproc_rate_limited_total", {"limit": "few"}) == 2
    assert value("extproc_rate_limited_total", {"limit": "many"}) is None


async def test_requests_known_and_unknown_count_once_each():
    parts = parts_with(RateLimit("few", Rate(1, 60, 3)))
    assert await signed(parts, *"tttt") == [True, True, True, False]


async def test_each_tool_may_have_its_own_bucket():
    parts = parts_with(RateLimit("few", Rate(1, 60, 1), per=("subject", "tool")))
    assert await signed(parts, "a", "b", "a", "b") == [True, True, False, False]


async def test_each_mapping_may_have_its_own_bucket():
    parts = parts_with(RateLimit("few", Rate(1, 60, 1), per=("mapping",)), rules=("mcp.tool == 'a'", "true"))
    assert await signed(parts, "a", "b", "a", "b") == [True, True, False, False]


async def test_each_user_has_a_bucket():
    parts = parts_with(RateLimit("few", Rate(1, 60, 1), per=("subject",)))
    parts.verifier.verify = _anyone
    tokens = ["a.b.c", "a.b.d", "a.b.e"]
    seen = [await ask(parts, token=token) for token in tokens]
    assert [each.is_signed for each in seen] == [True, True, False]  # the third is the first user again


async def _anyone(token, *, jwt_payload=None):
    subject = {"a.b.d": "bob"}.get(token, "alice")
    return Identity("https://idp.example", subject, NOW + 600, {"sub": subject}, b"k")


async def test_a_limit_counts_what_its_matcher_matches():
    parts = parts_with(RateLimit("few", Rate(1, 60, 1), cel_matcher("mcp.tool == 'a'")))
    assert await signed(parts, "b", "a", "b", "a", "b") == [True, True, True, False, True]


@pytest.mark.parametrize(
    ("matcher", "counted"),
    [("claims.nothing == 'x'", True), ("has(claims.nothing)", False), ("mcp.prompt == 'x'", False)],
)
async def test_a_limit_that_reads_a_missing_claim_counts(matcher, counted):
    parts = parts_with(RateLimit("few", Rate(1, 60, 1), cel_matcher(matcher)))
    assert await signed(parts, "t", "t") == [True, not counted]


async def test_a_limit_that_cannot_be_evaluated_denies():
    parts = parts_with(RateLimit("few", TWO, cel_matcher("claims.sub < 3")))
    assert (await ask(parts)).status == 403


async def test_variables_that_cel_does_not_have_deny():
    parts = parts_with(RateLimit("few", TWO, cel_matcher("claims.sub == 'alice' && mcp.tool == 'a'")))
    assert (await ask(parts)).is_signed
    parts.pipeline.authorization._policy = _Unreadable()
    assert (await ask(parts)).status == 403


class _Unreadable:
    def variables(self, *_):
        raise EvaluationError("no such value")


async def test_a_limit_may_be_for_some_targets():
    parts = parts_with(RateLimit("few", Rate(1, 60, 1), targets=frozenset({"other"})))
    assert await signed(parts, "t", "t", "t") == [True, True, True]


async def test_the_strictest_limit_counts_and_says_how_long():
    parts = parts_with(RateLimit("a", Rate(1, 1, 1)), RateLimit("b", Rate(1, 3600, 1)))
    assert await signed(parts, "t") == [True]
    assert (await ask(parts)).set["retry-after"] == "3600"


def test_without_limits_nothing_of_them_is_there():
    assert type(parts_with().pipeline.authorization) is Authorization
    assert type(parts_with(RateLimit("a", TWO)).pipeline.authorization) is RateLimitedAuthorization


async def test_a_request_that_is_looked_up_again_counts_once():
    parts = parts_with(RateLimit("few", Rate(1, 60, 1)))
    assert await signed(parts, "t") == [True]
    parts.now += 60
    admission = parts.pipeline.admission.admit(head_of())
    record = RequestRecord()
    for _ in range(3):
        assert parts.pipeline.authorization.lookup(admission, NO_INPUTS, record) is not None
    assert await signed(parts, "t") == [False]
