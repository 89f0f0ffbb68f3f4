"""Where a claim is missing deny rules and ceilings apply; a missing member of the request is "no match"."""

import pytest

from extproc.app.factories import build_policy
from extproc.errors import Denied, Reason
from extproc.policy.inputs import Inputs
from extproc.values import Identity
from support.settings import minimal_settings
from support.tables import each_case

ACCOUNT = "arn:aws:iam::123456789012:role/"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def policy(**changes):
    return build_policy(
        minimal_settings(
            **{
                "role_mappings": [{"name": "all", "matcher": "true", "role_arn": ACCOUNT + "All"}],
                **changes,
            }
        )
    )


def decide(some_policy, claims, inputs=None):
    identity = Identity("https://idp.example.com/", "alice", 2e9, {"sub": "alice", **claims}, b"")
    return some_policy.decide(identity, inputs or Inputs())


def rules(matcher, effect):
    """One rule that allows, denies or is a ceiling, and the same fallback for each."""
    if effect == "ceiling":
        return policy(ceilings=[{"name": "c", "matcher": matcher, "policy_arns": [READ_ONLY]}])
    rule = {"name": "r", "matcher": matcher, "effect": effect}
    if effect == "allow":
        rule["role_arn"] = ACCOUNT + "R"
    return policy(role_mappings=[rule], fallback_role_arn=ACCOUNT + "Fallback")


def applies(matcher, effect, claims, inputs=None):
    outcome = decide(rules(matcher, effect), claims, inputs).outcome
    if isinstance(outcome, Denied):
        assert outcome.reason in (Reason.POLICY_DENIED, Reason.POLICY_ERROR)
        return True if outcome.reason is Reason.POLICY_DENIED else "error"
    return bool(outcome.policy_arns) if effect == "ceiling" else outcome.mapping == "r"


CLAIMS = {"groups": ["dev"], "list": [{"name": "a"}, {"other": "b"}], "empty": []}

MISSING = [
    "claims.a == 1",
    "claims.a != 1",
    "!(claims.a == 1)",
    "!claims.a",
    "claims.a",
    "claims.a.b.c == 1",
    'claims["a"] == "x"',
    "claims.groups.exists(g, g == claims.a)",
    'claims.list.exists(entry, entry.name == "z")',
    'claims.list.all(entry, entry.name == "a")',
    'claims.list.filter(entry, entry.name == "a") == []',
    'claims.list.map(entry, entry.name) == ["a"]',
    'claims.list.exists_one(entry, entry.name == "a")',
    "claims.a == 1 || false",
    "false || claims.a == 1",
    "claims.a == 1 && true",
    "true && !(claims.a == 1)",
    "claims.a ? true : false",
    "true ? claims.a : false",
    '"x" in claims.a',
    'claims.a in ["x"]',
    'claims.sub in [claims.a, "x"]',
    "claims.sub.startsWith(claims.a)",
    "claims.a.startsWith('x')",
    "size(claims.a) == 1",
    "int(claims.a) > 3",
    "-claims.a == 1",
    "claims.a + 1 == 2",
    "claims.a.exists(x, x == 1)",
    "has(claims.a.b)",
    "dyn(claims.a) == 1",
    'claims.a == 1 || mcp.tool == "x"',
    'mcp.tool == "x" || claims.a == 1',
    '!(claims.a == 1 && mcp.tool == "x")',
    '(claims.a == 1 && mcp.tool == "x") == false',
    'request.method == "POST" || claims.a == 1',
    '{"bob": true}[claims.sub]',
]  # fmt: skip


@each_case("matcher", MISSING)
def test_where_a_claim_is_missing_restrictions_apply_and_mappings_do_not(matcher):
    assert applies(matcher, "deny", CLAIMS) is True
    assert applies(matcher, "ceiling", CLAIMS) is True
    assert applies(matcher, "allow", CLAIMS) is False


@each_case(
    ("matcher", "claims", "expected"),
    [
        ("has(claims.a) && claims.a == 1", {}, False),
        ("has(claims.a) && claims.a == 1", {"a": 1}, True),
        ("!has(claims.a) || claims.a == 1", {}, True),
        ('"a" in claims && claims.a == 1', {}, False),
        ("has(claims.a) ? claims.a == 1 : false", {}, False),
        ("claims.a == 1 && false", {}, False),
        ("claims.a == 1 || true", {}, True),
        ("has(claims.act) && has(claims.act.sub) && claims.act.sub == 'bot'", {"act": {}}, False),
        ("claims.a == 1", {"a": 2}, False),
    ],
)
@each_case("effect", ["deny", "ceiling"])
def test_an_expression_that_handles_the_missing_claim_decides_itself(matcher, claims, expected, effect):
    assert applies(matcher, effect, {**CLAIMS, **claims}) is expected


OF_THE_REQUEST = [
    'mcp.tool == "x"',
    'mcp.tool != "x"',
    '!(mcp.tool == "x")',
    'mcp.arguments.path.startsWith("/etc")',
    'mcp.arguments["path"] == "x"',
    'mcp.arguments.list.exists(a, a.name == "x")',
    'request.headers["x-team"] == "a"',
    'mcp.tool == "x" && claims.a < 3',
    'claims.a < 3 && mcp.tool == "x"',
    '!(mcp.tool == "x" || claims.a == 1)',
    "mcp.arguments.account == claims.a",
    "mcp.arguments.account != claims.sub",
    "claims.a[mcp.tool] == 1 && mcp.tool == 'x'",
    '{"run": true}[mcp.tool]',
]


@each_case("effect", ["allow", "deny", "ceiling"])
@each_case("matcher", OF_THE_REQUEST)
def test_a_missing_member_of_the_request_is_always_no_match(matcher, effect):
    assert applies(matcher, effect, CLAIMS) is False


def test_a_request_with_the_member_is_denied_for_the_missing_claim():
    inputs = Inputs(mcp={"tool": "x", "arguments": {"list": [{}]}})
    assert applies('mcp.tool == "x" && claims.a < 3', "deny", CLAIMS, inputs) is True
    assert applies('mcp.tool == "y" && claims.a < 3', "deny", CLAIMS, inputs) is False
    assert applies("mcp.arguments.list.exists(e, e.name == claims.sub)", "deny", CLAIMS, inputs) is False
    assert applies("claims.limits[mcp.tool] == 0", "deny", {**CLAIMS, "limits": {}}, inputs) is True


@each_case("matcher", ["claims.empty[0] == 1", "claims.groups > 1", "int(claims.sub) == claims.a"])
@each_case("effect", ["allow", "deny", "ceiling"])
def test_every_other_failure_denies_whatever_the_effect(matcher, effect):
    assert applies(matcher, effect, CLAIMS) == "error"


@pytest.mark.parametrize("effect", ["deny", "ceiling"])
def test_the_short_form_claim_fails_closed_too(effect):
    sugar = {"name": "c", "claim": "contractors"}
    changes = (
        {"ceilings": [{**sugar, "policy_arns": [READ_ONLY]}]}
        if effect == "ceiling"
        else {"role_mappings": [{**sugar, "effect": "deny"}], "fallback_role_arn": ACCOUNT + "F"}
    )
    outcomes = [decide(policy(**changes), claims).outcome for claims in ({}, {"groups": []})]
    if effect == "deny":
        assert outcomes[0].reason is Reason.POLICY_DENIED
        assert outcomes[1].role_arn == ACCOUNT + "F"
    else:
        assert [outcome.policy_arns for outcome in outcomes] == [(READ_ONLY,), ()]


def test_the_detail_names_the_missing_claim():
    decision = decide(rules("has(claims.act) || claims.act.sub == 'x'", "deny"), {})
    assert decision.outcome.detail == "mapping r denies, since claims.act is missing"
    assert decision.evaluated[0].missing == "claims.act"
    allowed = decide(rules("claims.department.name == 'x'", "allow"), {"department": {}})
    assert (allowed.evaluated[0].matched, allowed.evaluated[0].missing) == (False, "claims.department.name")


@each_case("priority", [None, 0, 1_000_000])
@each_case("last", [True, False])
def test_deny_rules_come_first_whatever_their_position_and_priority(priority, last):
    deny = {"name": "no", "matcher": 'claims.sub == "alice"', "effect": "deny", "priority": priority}
    allow = {"name": "yes", "matcher": "true", "role_arn": ACCOUNT + "A", "priority": -5}
    some_policy = policy(role_mappings=[allow, deny] if last else [deny, allow])
    assert decide(some_policy, {}).outcome.reason is Reason.POLICY_DENIED


def test_a_priority_orders_deny_rules_among_themselves():
    denies = [
        {"name": name, "matcher": "true", "effect": "deny", "priority": priority}
        for name, priority in (("late", None), ("second", 7), ("first", 3))
    ]
    allow = {"name": "yes", "matcher": "true", "role_arn": ACCOUNT + "A", "priority": 1}
    some_policy = policy(role_mappings=[allow, *denies])
    assert [rule.name for rule in some_policy.rules] == ["first", "second", "late", "yes"]
    assert decide(some_policy, {}).outcome.detail == "mapping first denies"


@pytest.mark.parametrize(
    "rule", [{"matcher": 'claims["https://x.example/team"] == "a"'}, {"claim": "a"}], ids=["matcher", "claim"]
)
def test_a_claim_whose_name_is_a_url_is_shown_as_in_rules(rule):
    some_policy = policy(
        role_claim="https://x.example/team",
        role_mappings=[{"name": "r", "effect": "deny", **rule}],
        fallback_role_arn=ACCOUNT + "F",
    )
    outcome = decide(some_policy, {}).outcome
    assert isinstance(outcome, Denied)
    assert outcome.detail == 'mapping r denies, since claims["https://x.example/team"] is missing'
