"""From claims to one grant: order, first match, fallback, and no role by accident."""

from types import MappingProxyType

import pytest

from extproc.errors import Denied, Reason
from extproc.policy.cel import ExpressionError
from extproc.policy.rules import ClaimContains, Policy, Rule, cel_matcher
from extproc.values import Grant, Identity
from support.tables import each_case

ACCOUNT = "arn:aws:iam::123456789012:role/"
NEVER_EVALUATED = cel_matcher("claims.sub < 1")  # would be an error: sub is a string


def identity(**claims):
    claims = {"sub": "alice", **claims}
    return Identity(
        issuer="https://idp.example.com/",
        subject="alice",
        expires_at=2_000_000_000.0,
        claims=MappingProxyType(claims),
        key_thumbprint=b"t",
    )


def rule(name, matcher, priority=None):
    if isinstance(matcher, str):
        matcher = cel_matcher(matcher)
    return Rule(name=name, matcher=matcher, role_arn=ACCOUNT + name, priority=priority)


def policy(*rules, fallback=None, session_name_claim="sub"):
    return Policy(
        rules=list(rules),
        fallback_role_arn=fallback and ACCOUNT + fallback,
        session_name_claim=session_name_claim,
        session_duration=3600,
    )


def denial(some_policy, someone):
    outcome = some_policy.decide(someone).outcome
    assert isinstance(outcome, Denied)
    return outcome


def in_groups(value):
    return ClaimContains(claim="groups", value=value)


def test_a_match_grants_the_role_under_the_session_name_for_the_duration():
    granted = policy(rule("admins", in_groups("admin"))).decide(identity(groups=["dev", "admin"])).outcome
    assert granted == Grant(
        role_arn=ACCOUNT + "admins", session_name="alice", duration=3600, mapping="admins"
    )


@each_case(
    ("priorities", "winner"),
    [
        ({"a": 2, "b": 1}, "b"),
        ({"a": None, "b": 5}, "b"),
        ({"a": None, "b": 1_000_000}, "b"),
        ({"a": 1, "b": 1}, "a"),
        ({"a": None, "b": None}, "a"),
        ({"a": 0, "b": None, "c": -1}, "c"),
        ({"a": None, "b": 0}, "b"),
    ],
)
def test_the_lowest_priority_number_wins_then_order_and_no_number_comes_last(priorities, winner):
    rules = [rule(name, "true", priority) for name, priority in priorities.items()]
    assert policy(*rules).decide(identity()).outcome.mapping == winner


def test_the_search_ends_at_the_first_match_so_that_a_later_broken_rule_does_no_harm():
    decision = policy(rule("first", "true"), rule("broken", NEVER_EVALUATED)).decide(identity())
    assert decision.outcome.mapping == "first"
    assert [entry.rule.name for entry in decision.evaluated] == ["first"]


def test_a_rule_that_cannot_be_evaluated_denies_instead_of_falling_through():
    decision = policy(
        rule("no", "false"), rule("broken", NEVER_EVALUATED), rule("later", "true"), fallback="Fallback"
    ).decide(identity())
    assert decision.outcome.reason is Reason.POLICY_ERROR
    assert decision.outcome.detail == "mapping broken: no < for string, int"
    assert [(entry.rule.name, entry.matched, entry.error) for entry in decision.evaluated] == [
        ("no", False, None),
        ("broken", False, "no < for string, int"),
    ]


def test_without_a_match_the_fallback_role_is_granted_with_no_mapping():
    granted = policy(rule("no", "false"), fallback="Fallback").decide(identity()).outcome
    assert (granted.role_arn, granted.mapping) == (ACCOUNT + "Fallback", None)


def test_without_a_match_and_a_fallback_no_role_is_granted():
    assert denial(policy(rule("no", "false")), identity()).reason is Reason.NO_ROLE
    assert denial(policy(), identity()).reason is Reason.NO_ROLE


@each_case(
    "source",
    [
        '"admin" in claims.groups',
        'claims.groups.exists(g, g == "admin")',
        'claims.groups.all(g, g != "x")',
        'claims.department == "x"',
        '!(claims.department == "x")',
        'claims.department == "x" && claims.title == "y"',
        'claims.department == "x" || claims.title == "y"',
        'claims.department == "x" ? true : true',
        'claims["department"] != "x"',
        "claims.realm_access.roles.exists(r, true)",
        "!has(claims.act.sub)",
    ],
)
def test_a_rule_about_a_missing_claim_does_not_match(source):
    granted = policy(rule("about-missing", source), fallback="Fallback").decide(identity()).outcome
    assert granted.mapping is None


def test_the_short_form_claim_does_not_match_when_the_claim_is_missing():
    some_policy = policy(rule("admins", in_groups("admin")), fallback="Fallback")
    assert some_policy.decide(identity()).outcome.mapping is None


@each_case("value", ['"] || true || ["', "admin' || 'a' == 'a", "claims.sub", "*", ".*", "adm"])
def test_the_value_of_the_short_form_claim_is_never_an_expression(value):
    assert denial(policy(rule("r", in_groups(value))), identity(groups=["admin"])).reason is Reason.NO_ROLE
    assert policy(rule("r", in_groups(value))).decide(identity(groups=[value])).outcome.mapping == "r"


def test_the_short_form_claim_reads_the_claim_by_its_whole_name():
    some_policy = policy(rule("r", ClaimContains(claim="https://example.com/groups", value="admin")))
    assert some_policy.decide(identity(**{"https://example.com/groups": ["admin"]})).outcome.mapping == "r"


HOSTILE_GROUPS = [
    "admin",
    "superadmin",
    "xadminx",
    "",
    {},
    {"name": "admin"},
    {"groups": ["admin"]},
    None,
    0,
    1,
    1.5,
    True,
    False,
    [],
    [["admin"]],
    [{"admin": "admin"}],
    [{"name": "admin"}],
    [None],
    [True],
    [1],
    ["ADMIN"],
    ["admin "],
    ["adm", "in"],
    ["аdmin"],  # noqa: RUF001 - a Cyrillic letter, on purpose
]
HOSTILE_MATCHERS = [
    '"admin" in claims.groups',
    'claims.groups.exists(g, g == "admin")',
    'claims.groups.exists_one(g, g == "admin")',
    'claims.groups.filter(g, g == "admin") != []',
    'claims.groups.filter(g, g == "admin").size() == 1',
    'claims.groups.map(g, g) == ["admin"]',
    'claims.groups[0] == "admin"',
    '["admin"] == claims.groups',
    'has(claims.groups) && "admin" in claims.groups',
    'claims.sub == "alice" && "admin" in claims.groups',
]


@each_case("groups", HOSTILE_GROUPS, ids=repr)
@each_case("matcher", [in_groups("admin"), *HOSTILE_MATCHERS], ids=str)
def test_a_claim_of_the_wrong_type_is_never_a_list_with_the_value(matcher, groups):
    reason = denial(policy(rule("admins", matcher)), identity(groups=groups)).reason
    assert reason in (Reason.NO_ROLE, Reason.POLICY_ERROR)


@each_case("matcher", [in_groups("admin"), *HOSTILE_MATCHERS], ids=str)
def test_the_same_rules_do_match_a_list_with_the_value(matcher):
    assert policy(rule("admins", matcher)).decide(identity(groups=["admin"])).outcome.mapping == "admins"


@each_case("groups", ["admin", "x", 1, True, None], ids=repr)
@each_case(
    "matcher",
    [
        'claims.groups.all(g, g != "admin")',
        '!claims.groups.exists(g, g == "admin")',
        '!("admin" in claims.groups)',
    ],
)
def test_an_exclusion_over_a_claim_that_is_not_a_list_denies(matcher, groups):
    assert denial(policy(rule("guests", matcher)), identity(groups=groups)).reason is Reason.POLICY_ERROR


@each_case("groups", ["admin", {"admin": 1}, 1, True, "x", None], ids=repr)
def test_the_short_form_claim_over_a_claim_that_is_not_a_list_denies_instead_of_falling_back(groups):
    some_policy = policy(rule("admins", in_groups("admin")), fallback="Fallback")
    assert denial(some_policy, identity(groups=groups)).reason is Reason.POLICY_ERROR


@pytest.mark.parametrize("claims", [{"n": 2**63}, {"n": -(2**63) - 1}, {"deep": [2**64]}])
def test_claims_without_a_cel_value_deny(claims):
    denied = denial(policy(rule("anyone", "true"), fallback="Fallback"), identity(**claims))
    assert (denied.reason, denied.detail) == (Reason.POLICY_ERROR, "claims: a number beyond 64 bits")


@each_case("wanted", [None, "", 5, True, ["alice"], {"name": "alice"}])
def test_a_session_name_claim_that_is_not_a_string_denies(wanted):
    some_policy = policy(rule("anyone", "true"), session_name_claim="name")
    denied = denial(some_policy, identity(name=wanted))
    assert (denied.reason, denied.detail) == (Reason.SESSION_NAME_INVALID, "claim name is not a string")


def test_a_missing_session_name_claim_denies_the_fallback_role_too():
    some_policy = policy(fallback="Fallback", session_name_claim="name")
    assert denial(some_policy, identity()).reason is Reason.SESSION_NAME_INVALID


@each_case(
    "source",
    [
        "claims.secret < 1",
        "claims.secret.x == 1",
        "claims.secret[0] == 1",
        "claims.secret.exists(c, c == 1)",
        "claims.secret + 1 == 2",
        "claims.secret ? true : false",
        "int(claims.secret) == 1",
        "claims.secret && true",
        "claims.secret",
    ],
)
def test_the_detail_of_a_denial_never_contains_a_claims_value(source):
    denied = denial(policy(rule("r", source)), identity(secret="hunter2"))
    assert denied.reason is Reason.POLICY_ERROR
    assert "hunter2" not in denied.detail
    assert "hunter2" not in str(denied)
    assert denied.__cause__ is None


@each_case(
    ("source", "misspelt"),
    [
        ('mcp.tol == "x"', "mcp.tol"),
        ('mcp["tol"] == "x"', "mcp.tol"),
        ('has(mcp.tol) && mcp.tool == "x"', "mcp.tol"),
        ('request.pathh.startsWith("/admin")', "request.pathh"),
    ],
)
def test_a_member_that_does_not_exist_is_an_error(source, misspelt):
    with pytest.raises(ExpressionError, match=f"^{misspelt}: there is no such member, only "):
        cel_matcher(source)


@pytest.mark.parametrize(
    "source", ["mcp.arguments.tol == 1", 'request.headers["x-any"] == "1"', "claims.any == 1"]
)
def test_below_what_clients_choose_any_member_may_be_read(source):
    assert cel_matcher(source).reads


def test_a_denial_because_nothing_matched_names_what_was_asked_for_and_what_the_token_lacks():
    rules = [rule("a", in_groups("admin")), rule("b", 'claims.email == "x"')]
    assert denial(policy(*rules), identity(email="secret-value")).detail == (
        "no mapping matched; they ask for claims.email, claims.groups (not in the token)"
    )
    assert denial(policy(), identity()).detail == "no mapping matched"
    many = [rule(f"r{n}", f'claims.c{n} == "x"') for n in range(10)]
    detail = denial(policy(*many), identity()).detail
    assert detail.count("(not in the token)") == 8
    assert detail.endswith(", 2 more")
