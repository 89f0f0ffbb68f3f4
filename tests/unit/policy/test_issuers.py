"""Rules for the tokens of some issuers, and the actors in the chain of ``act``."""

import pytest

from extproc.app.factories import build_policy
from extproc.config import ConfigError, validate
from extproc.errors import Denied, Reason
from extproc.policy.agents import MAX_AGENTS, ActError, agents_of
from extproc.values import Identity
from support.tables import each_case

OURS, PARTNER = "https://idp.example.com/", "https://partner.example.net"
ACCOUNT = "arn:aws:iam::123456789012:role/"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
EMPLOYEE = {"name": "employee", "claim": "admin", "role_arn": ACCOUNT + "Admin", "issuers": [OURS]}
GUEST = {"name": "guest", "claim": "admin", "role_arn": ACCOUNT + "Guest", "issuers": [PARTNER]}


def settings(**changes):
    return validate(
        {
            "resource": {"url": "https://mcp.example.com/mcp"},
            "issuers": [
                {"issuer": issuer, "audiences": ["https://mcp.example.com/mcp"]} for issuer in (OURS, PARTNER)
            ],
            "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
            "role_mappings": [EMPLOYEE, GUEST],
            **changes,
        }
    )


def decide(issuer, *, claims=None, **changes):
    claims = {"sub": "alice", "groups": ["admin"], **(claims or {})}
    return build_policy(settings(**changes)).decide(Identity(issuer, "alice", 2e9, claims, b""))


def test_a_mapping_is_for_tokens_of_its_issuers_only():
    assert decide(OURS).outcome.role_arn == ACCOUNT + "Admin"
    partner = decide(PARTNER)
    assert partner.outcome.role_arn == ACCOUNT + "Guest"
    assert [(entry.rule.name, entry.foreign) for entry in partner.evaluated] == [
        ("employee", True),
        ("guest", False),
    ]


@each_case("issuer", ["", "https://idp.example.com", "https://IDP.example.com/", "other"])
def test_issuers_are_compared_exactly(issuer):
    assert decide(issuer).outcome.reason is Reason.NO_ROLE


def test_a_deny_rule_and_a_ceiling_of_an_issuer_leave_the_others_alone():
    deny = {"name": "no", "matcher": "claims.blocked", "effect": "deny", "issuers": [PARTNER]}
    ceiling = {"name": "c", "matcher": "true", "policy_arns": [READ_ONLY], "issuers": [PARTNER]}
    mappings = [EMPLOYEE, GUEST, deny]
    assert decide(OURS, role_mappings=mappings).outcome.role_arn == ACCOUNT + "Admin"
    assert decide(PARTNER, role_mappings=mappings).outcome.reason is Reason.POLICY_DENIED
    assert decide(OURS, ceilings=[ceiling]).outcome.policy_arns == ()
    assert decide(PARTNER, ceilings=[ceiling]).outcome.policy_arns == (READ_ONLY,)


def test_a_rule_for_others_is_not_evaluated_so_that_it_cannot_fail():
    broken = {**GUEST, "claim": None, "matcher": "claims.groups > 1", "priority": 0}
    assert decide(OURS, role_mappings=[broken, EMPLOYEE]).outcome.role_arn == ACCOUNT + "Admin"
    assert decide(PARTNER, role_mappings=[broken, EMPLOYEE]).outcome.reason is Reason.POLICY_ERROR


def test_a_ceiling_never_lowers_a_user_to_the_role_of_another_issuer():
    ceiling = {"name": "c", "matcher": "true", "max_mapping": "guest"}
    outcome = decide(OURS, ceilings=[ceiling]).outcome
    assert (outcome.reason, outcome.detail) == (
        Reason.POLICY_DENIED,
        "mapping guest, to which the ceiling lowers, is for other issuers",
    )


@each_case(
    ("section", "issuers", "line"),
    [
        ("role_mappings", ["https://idp.example.com"], "role_mappings[0].issuers: 'https://idp.example.com' is not one of issuers; did you mean 'https://idp.example.com/'?"),
        ("role_mappings", ["x"], "role_mappings[0].issuers: 'x' is not one of issuers"),
        ("role_mappings", [], "role_mappings[0].issuers: List should have at least 1 item after validation, not 0"),
        ("role_mappings", [OURS, OURS], f"role_mappings[0].issuers: issuer {OURS!r} is used twice"),
        ("ceilings", ["x"], "ceilings[0].issuers: 'x' is not one of issuers"),
    ],
)  # fmt: skip
def test_an_issuer_that_is_not_configured_is_an_error(section, issuers, line):
    entry = {
        "role_mappings": {**EMPLOYEE, "issuers": issuers},
        "ceilings": {"name": "c", "matcher": "true", "policy_arns": [READ_ONLY], "issuers": issuers},
    }[section]
    with pytest.raises(ConfigError) as error:
        settings(**{section: [entry]})
    assert error.value.problems == [line]


def chain(*names):
    act = None
    for name in reversed(names):
        act = {"sub": name, **({"act": act} if act else {})}
    return {"act": act} if act else {}


@each_case("names", [(), ("a",), ("a", "b", "c"), tuple("abcdefgh")])
def test_agents_are_all_actors_the_current_one_first(names):
    assert agents_of(chain(*names)) == list(names)


@each_case(
    ("claims", "problem"),
    [
        ({"act": None}, "act: not an object"),
        ({"act": "bot"}, "act: not an object"),
        ({"act": [{"sub": "bot"}]}, "act: not an object"),
        ({"act": {}}, "act: an actor without sub"),
        ({"act": {"sub": ""}}, "act: an actor without sub"),
        ({"act": {"sub": 1}}, "act: an actor without sub"),
        ({"act": {"sub": ["bot"]}}, "act: an actor without sub"),
        ({"act": {"sub": "bot", "act": None}}, "act: not an object"),
        ({"act": {"sub": "bot", "act": {"iss": "x"}}}, "act: an actor without sub"),
        (chain(*"abcdefghi"), f"act: more than {MAX_AGENTS} actors"),
    ],
)
def test_a_malformed_chain_denies_where_a_rule_reads_agents(claims, problem):
    with pytest.raises(ActError, match=f"^{problem}$"):
        agents_of(claims)
    ceiling = {"name": "c", "matcher": '"bot" in agents', "policy_arns": [READ_ONLY]}
    outcome = decide(OURS, claims=claims, ceilings=[ceiling]).outcome
    assert (outcome.reason, outcome.detail) == (Reason.POLICY_ERROR, f"claims: {problem}")
    assert decide(OURS, claims=claims).outcome.role_arn == ACCOUNT + "Admin"


@each_case(
    ("names", "restricted"),
    [((), False), (("bot",), True), (("cli", "bot"), True), (("cli",), False), (("a", "b", "bot"), True)],
)
def test_a_ceiling_sees_an_agent_wherever_it_stands_in_the_chain(names, restricted):
    ceiling = {"name": "c", "matcher": '"bot" in agents', "policy_arns": [READ_ONLY]}
    outcome = decide(OURS, claims=chain(*names), ceilings=[ceiling]).outcome
    assert bool(outcome.policy_arns) is restricted


def test_agents_are_of_the_token_so_that_a_session_name_may_use_them():
    grant = decide(OURS, claims=chain("bot"), session_name='claims.sub + "+" + agents[0]').outcome
    assert not isinstance(grant, Denied)
    assert grant.session_name == "alice+bot"
    ceiling = {"name": "c", "matcher": "agents != []", "policy_arns": [READ_ONLY]}
    assert build_policy(settings(ceilings=[ceiling])).request_reads == ()
