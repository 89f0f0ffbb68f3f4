"""Decisions are made once for what they depend on, bounded, and off the event loop."""

import asyncio
import threading

import pytest

from extproc.errors import Denied, Reason
from extproc.policy.inputs import NO_INPUTS, Inputs, decision_key
from extproc.policy.matchers import cel_matcher
from extproc.policy.rules import Policy, Rule
from extproc.sessions import decisions
from extproc.sessions.decisions import Decisions
from extproc.sessions.session import Session
from extproc.values import Grant, Identity
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/R"


class Counting(Policy):
    calls = 0

    def decide(self, identity, inputs=NO_INPUTS):
        self.calls += 1
        self.thread = threading.current_thread()
        return super().decide(identity, inputs)


def policy(*matchers):
    return Counting(
        rules=[Rule(str(n), cel_matcher(source), ROLE, None) for n, source in enumerate(matchers)],
        fallback_role_arn=None,
        session_name_claim="sub",
        session_duration=900,
    )


def session(digest=b"1", **claims):
    return Session(digest, Identity("i", "alice", 2e9, {"sub": "alice", **claims}, b""), "t")


def mcp(**members):
    return Inputs(mcp=members)


def decided(made, opened, inputs):
    return made.decide(opened, inputs)


async def test_rules_over_claims_are_decided_once_a_session_whatever_the_request():
    some_policy = policy("claims.sub == 'alice'")
    made, mine = Decisions(some_policy), session()
    for tool in "abc":
        await decided(made, mine, mcp(tool=tool))
    assert some_policy.calls == 1
    await decided(made, session(b"2"), NO_INPUTS)
    assert some_policy.calls == 2


async def test_rules_over_the_tool_are_decided_once_a_tool_whatever_its_arguments():
    some_policy = policy("mcp.tool != 'x'")
    made, mine = Decisions(some_policy), session()
    for n in range(10):
        await decided(made, mine, mcp(tool="a" if n % 2 else "b", arguments={"n": n}))
    assert some_policy.calls == 2


async def test_a_remembered_denial_keeps_nothing_of_the_request():
    some_policy = Policy(
        rules=[Rule("all", cel_matcher("mcp.tool != 'x'"), ROLE, None)],
        fallback_role_arn=None,
        session_name_claim="email",
        session_duration=900,
        reject_session_names=True,
    )
    made, mine = Decisions(some_policy), session(email=" ")
    for _ in range(2):
        with pytest.raises(Denied) as denied:
            await decided(made, mine, mcp(tool="a"))
        assert denied.value.reason is Reason.SESSION_NAME_INVALID
    _, _, remembered, _ = mine.decided
    assert (remembered.__traceback__, remembered.__context__) == (None, None)


async def test_a_denial_is_remembered_too_and_raised_anew():
    some_policy = policy("mcp.tool == 'x'")
    made, mine = Decisions(some_policy), session()
    seen = []
    for _ in range(3):
        with pytest.raises(Denied) as denied:
            await decided(made, mine, mcp(tool="y"))
        seen.append(denied.value)
    assert some_policy.calls == 1
    assert {error.reason for error in seen} == {Reason.NO_ROLE}
    assert len(set(map(id, seen))) == 3


async def test_what_is_remembered_for_one_session_is_bounded():
    made, mine = Decisions(policy("mcp.tool != 'x'")), session()
    for n in range(3 * decisions.MAX_DECISIONS):
        await decided(made, mine, mcp(tool=str(n)))
    assert len(mine.decided[3]) == decisions.MAX_DECISIONS


async def test_requests_at_the_same_time_that_differ_in_nothing_the_rules_read_are_one_decision():
    some_policy = policy("claims.sub == 'alice'")
    made, mine = Decisions(some_policy), session()
    granted = await asyncio.gather(*(decided(made, mine, mcp(tool=str(n))) for n in range(100)))
    assert some_policy.calls == 1
    assert len(set(map(id, granted))) == 1


async def test_another_policy_decides_anew_and_an_equal_grant_goes_on():
    mine, first, second = session(), Decisions(policy("true")), Decisions(policy("true"))
    granted = await decided(first, mine, NO_INPUTS)
    assert second.lookup(mine, ()) is None
    assert await decided(second, mine, NO_INPUTS) is granted
    assert first.lookup(mine, ()) is None


async def test_decisions_are_made_in_a_thread_and_do_not_hold_up_the_loop():
    some_policy = policy("claims.groups.all(a, claims.groups.all(b, claims.groups.all(c, a + b + c != '')))")
    made = Decisions(some_policy)
    deciding = asyncio.ensure_future(decided(made, session(groups=[str(n) for n in range(2000)]), NO_INPUTS))
    turns = 0
    while not deciding.done():
        await asyncio.sleep(0)
        turns += 1
    with pytest.raises(Denied) as denied:
        await deciding
    assert (denied.value.reason, denied.value.detail) == (
        Reason.POLICY_ERROR,
        "mapping 0: too costly: more than 500000 units",
    )
    assert turns > 5
    assert some_policy.thread is not threading.current_thread()


@pytest.mark.parametrize("tokens", [1, 20])
async def test_one_user_cannot_fill_the_queue_with_however_many_tokens(tokens):
    made = Decisions(policy("claims.groups.all(g, claims.groups.all(h, mcp.tool != g + h))"))
    groups = [str(n) for n in range(1000)]
    waiting = [
        asyncio.ensure_future(decided(made, session(b"%d" % (n % tokens), groups=groups), mcp(tool=str(n))))
        for n in range(40)
    ]
    await asyncio.sleep(0)
    newcomer = Session(b"b", Identity("i", "bob", 2e9, {"sub": "bob", "groups": ["a"]}, b""), "t")
    other = asyncio.ensure_future(decided(made, newcomer, mcp(tool="t")))
    assert (await other).grant.role_arn == ROLE
    assert (
        sum(not each.done() for each in waiting) >= decisions.MAX_WAITING_OF_ONE - 2
    )  # before the next ones
    results = await asyncio.gather(*waiting, return_exceptions=True)
    reasons = [error.reason for error in results]
    assert reasons.count(Reason.USER_BUSY) == 40 - decisions.MAX_WAITING_OF_ONE


def test_two_hundred_rules_over_thousands_of_groups_are_decided_within_the_budget():
    some_policy = policy(*(f'claims.groups.exists(g, g == "x{n}")' for n in range(200)))
    decision = some_policy.decide(session(groups=[f"g{n}" for n in range(3000)]).identity)
    assert decision.outcome.reason is Reason.NO_ROLE
    assert decision.cost < 10_000


PATHS = [("mcp", "arguments", "path"), ("mcp", "tool")]


@each_case(
    "members",
    [
        {},
        {"arguments": None},
        {"arguments": "path"},
        {"arguments": {}},
        {"arguments": {"path": None}},
        {"arguments": {"path": 1}},
        {"arguments": {"path": 1.0}},
        {"arguments": {"path": True}},
        {"arguments": {"path": "1"}},
        {"arguments": {"path": ["1"]}},
        {"arguments": {"path": "absent"}},
        {"arguments": {"path": "x" * 500}},
        {"arguments": {"path": "x" * 501}},
        {"tool": "1"},
        {"tool": 1},
    ],
)
def test_different_values_have_different_keys(members):
    others = [
        {},
        {"arguments": None},
        {"arguments": "path"},
        {"arguments": {}},
        {"arguments": {"path": None}},
        {"arguments": {"path": 1}},
        {"arguments": {"path": 1.0}},
        {"arguments": {"path": True}},
        {"arguments": {"path": "1"}},
        {"arguments": {"path": ["1"]}},
        {"arguments": {"path": "x" * 500}},
        {"tool": "1"},
        {"tool": 1},
    ]
    key = decision_key(mcp(**members), PATHS)
    for other in others:
        assert (decision_key(mcp(**other), PATHS) == key) is (repr(other) == repr(members))


def test_what_no_rule_reads_makes_no_difference():
    one, two = (
        mcp(tool="a", arguments={"path": "p", "n": 1}),
        mcp(tool="a", arguments={"path": "p"}, method="m"),
    )
    assert decision_key(one, PATHS) == decision_key(two, PATHS)


@each_case(
    "others",
    [
        Inputs({"headers": {"h": "1", "other": "\udc80"}}, {"arguments": {"x": {"y": "a"}}}),
        Inputs({"headers": {"h": "1"}}, {"arguments": {"x": {"y": "a"}, "n": 2**70}}),
        Inputs({"headers": {"h": "1"}}, {"arguments": {"x": {"y": "a", "n": 2**70}}, "tool": "\0"}),
        Inputs({"headers": {"h": "1"}}, {"arguments": {"x": {"y": "a"}, "n": [0] * 600_000}}),
    ],
    ids=["a header", "an argument", "a member of an argument", "a long list"],
)
def test_what_no_rule_reads_of_a_request_changes_no_decision_and_no_cost(others):
    matcher = 'mcp.arguments.x.y == "a" && request.headers["h"] == "1"'
    some_policy = Policy(
        rules=[Rule("r", cel_matcher(matcher), "arn:aws:iam::123456789012:role/R", None)],
        fallback_role_arn=None,
        session_name_claim="sub",
        session_duration=900,
    )
    plain = Inputs({"headers": {"h": "1"}}, {"arguments": {"x": {"y": "a"}}})
    reads = some_policy.request_reads
    assert decision_key(plain, reads) == decision_key(others, reads)
    identity = Identity("https://idp.example.com/", "alice", 2e9, {"sub": "alice"}, b"")
    assert some_policy.decide(identity, plain) == some_policy.decide(identity, others)
    assert isinstance(some_policy.decide(identity, others).outcome, Grant)


async def test_no_more_than_so_many_decisions_wait_of_however_many_users():
    some_policy = policy("mcp.tool == 'x'")
    gate = threading.Event()
    made = Decisions(some_policy, on_cost=lambda _cost: gate.wait(10))
    users = [
        Session(b"%d" % n, Identity("i", str(n), 2e9, {"sub": str(n)}, b""), "t")
        for n in range(decisions.MAX_WAITING + 1)
    ]
    *waiting, last = (asyncio.ensure_future(decided(made, user, mcp(tool="x"))) for user in users)
    with pytest.raises(Denied) as denied:
        await last
    assert denied.value.reason is Reason.POLICY_BUSY
    gate.set()
    assert {granted.grant.role_arn for granted in await asyncio.gather(*waiting)} == {ROLE}
