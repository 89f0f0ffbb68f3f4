"""Ceilings, deny rules and session policies: the tables of the RFC are reproduced."""

import pytest

from extproc.app.factories import build_policy
from extproc.config import ConfigError
from extproc.errors import Denied, Reason
from extproc.policy.review import notes, reads, warnings
from extproc.policy.rules import _client_text
from extproc.values import Identity
from support.settings import minimal_settings
from support.tables import each_case

ACCOUNT = "arn:aws:iam::123456789012:role/"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
INLINE = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}]}'
MAPPINGS = [
    {"name": "admin", "claim": "admin", "role_arn": ACCOUNT + "Admin", "priority": 1},
    {"name": "sre", "claim": "sre", "role_arn": ACCOUNT + "SRE", "priority": 2},
    {"name": "developer", "claim": "developer", "role_arn": ACCOUNT + "Developer", "priority": 3},
    {"name": "readonly", "claim": "readonly", "role_arn": ACCOUNT + "ReadOnly", "priority": 4},
]
CEILINGS = [
    {
        "name": "code",
        "matcher": 'has(claims.act) && claims.act.sub == "code-assistant"',
        "max_mapping": "readonly",
    },
    {
        "name": "sre-agent",
        "matcher": 'has(claims.act) && claims.act.sub == "sre-agent"',
        "max_mapping": "sre",
    },
]


def settings(**changes):
    return minimal_settings(**{"role_mappings": MAPPINGS, **changes})


def decide(claims, **changes):
    identity = Identity("https://idp.example.com/", "alice", 2e9, {"sub": "alice", **claims}, b"")
    return build_policy(settings(**changes)).decide(identity).outcome


def refused(**changes):
    with pytest.raises(ConfigError) as error:
        settings(**changes)
    return error.value.problems


def acting(agent):
    return {"act": {"sub": agent}} if agent else {}


@each_case(
    ("group", "agent", "role"),
    [
        ("admin", None, "Admin"),
        ("admin", "code-assistant", "ReadOnly"),
        ("admin", "sre-agent", "SRE"),
        ("developer", "sre-agent", "Developer"),
        ("developer", "code-assistant", "ReadOnly"),
        ("sre", "sre-agent", "SRE"),
        ("readonly", "sre-agent", "ReadOnly"),
        ("admin", "another-agent", "Admin"),
    ],
)
def test_the_table_of_the_rfc_is_reproduced(group, agent, role):
    assert decide({"groups": [group], **acting(agent)}, ceilings=CEILINGS).role_arn == ACCOUNT + role


def test_a_ceiling_never_gives_a_role_to_a_token_without_one():
    assert decide({"groups": [], **acting("sre-agent")}, ceilings=CEILINGS).reason is Reason.NO_ROLE


def test_a_ceiling_never_raises_the_fallback_role():
    grant = decide({**acting("sre-agent")}, ceilings=CEILINGS, fallback_role_arn=ACCOUNT + "Fallback")
    assert grant.role_arn == ACCOUNT + "Fallback"


def test_the_first_ceiling_by_priority_applies():
    both = [
        {"name": "late", "matcher": "true", "max_mapping": "readonly"},
        {"name": "early", "matcher": "true", "max_mapping": "sre", "priority": 1},
    ]
    assert decide({"groups": ["admin"]}, ceilings=both).mapping == "sre"


def test_a_ceiling_that_cannot_be_evaluated_denies():
    broken = [{"name": "c", "matcher": 'claims.act.sub == "x"', "max_mapping": "readonly"}]
    assert decide({"groups": ["admin"], "act": "x"}, ceilings=broken).reason is Reason.POLICY_ERROR


@pytest.mark.parametrize(
    "restriction", [{"policy_arns": [READ_ONLY]}, {"policy": INLINE}], ids=["arn", "inline"]
)
def test_a_ceiling_may_scope_the_session_down_instead(restriction):
    ceiling = [{"name": "c", "matcher": "has(claims.act)", **restriction}]
    grant = decide({"groups": ["admin"], **acting("x")}, ceilings=ceiling)
    assert grant.role_arn == ACCOUNT + "Admin"
    assert (grant.policy_arns, grant.policy) == (
        tuple(restriction.get("policy_arns", ())),
        restriction.get("policy"),
    )
    assert decide({"groups": ["admin"]}, ceilings=ceiling).policy_arns == ()


def test_two_session_policies_at_once_are_denied_since_sts_would_unite_them():
    changes = {
        "role_mappings": [{**MAPPINGS[0], "policy_arns": [READ_ONLY]}],
        "ceilings": [{"name": "c", "matcher": "has(claims.act)", "policy": INLINE}],
    }
    assert decide({"groups": ["admin"], **acting("x")}, **changes).reason is Reason.POLICY_CONFLICT
    assert decide({"groups": ["admin"]}, **changes).policy_arns == (READ_ONLY,)
    assert list(warnings(build_policy(settings(**changes)))) == [
        "ceiling c: has a session policy, and so has mapping admin: who meets both is denied (policy_conflict)"
    ]


def test_a_deny_rule_denies_before_all_later_rules_and_the_fallback_role():
    changes = {
        "role_mappings": [
            {"name": "no", "matcher": "has(claims.act)", "effect": "deny", "priority": 0},
            *MAPPINGS,
        ],
        "fallback_role_arn": ACCOUNT + "Fallback",
    }
    denied = decide({"groups": ["admin"], **acting("x")}, **changes)
    assert isinstance(denied, Denied)
    assert (denied.reason, denied.reason.outcome.status) == (Reason.POLICY_DENIED, 403)
    assert decide({"groups": ["admin"]}, **changes).mapping == "admin"


@each_case("groups", ["guest", "admin", {"guest": 1}, None, 1, True, [["guest"]], []], ids=repr)
def test_a_deny_rule_with_all_denies_whatever_the_shape(groups):
    mappings = [
        {"name": "guests", "matcher": 'claims.groups.all(g, g != "staff")', "effect": "deny", "priority": 0},
        {"name": "staff", "matcher": "true", "role_arn": ACCOUNT + "Staff"},
    ]
    assert isinstance(decide({"groups": groups}, role_mappings=mappings), Denied)
    assert decide({"groups": ["staff"]}, role_mappings=mappings).mapping == "staff"


def test_a_mapping_may_have_its_own_duration_and_session_policies():
    mapping = {**MAPPINGS[0], "session_duration": 900, "policy": INLINE.replace(',"', ', "')}
    grant = decide({"groups": ["admin"]}, role_mappings=[mapping])
    assert (grant.duration, grant.policy) == (900, INLINE)


def test_the_session_policies_of_a_chained_role_restrict_the_second_session():
    chain = {"role_arn": "arn:aws:iam::210987654321:role/X"}
    grant = decide(
        {"groups": ["admin"]}, role_mappings=[{**MAPPINGS[0], "chain": chain, "policy_arns": [READ_ONLY]}]
    )
    assert grant.policy_arns == ()
    assert grant.chain.policy_arns == (READ_ONLY,)


CHOSEN = {
    "role_arn": "arn:aws:iam::{account}:role/X",
    "account": "claims.account",
    "accounts": ["111111111111", "222222222222"],
}


@each_case(
    ("account", "outcome"),
    [
        ("222222222222", "arn:aws:iam::222222222222:role/X"),
        ("333333333333", Reason.POLICY_DENIED),
        ("", Reason.POLICY_DENIED),
        ("{account}", Reason.POLICY_DENIED),
        (222222222222, Reason.POLICY_ERROR),
        (["222222222222"], Reason.POLICY_ERROR),
        (None, Reason.POLICY_ERROR),
    ],
)
def test_an_expression_selects_the_account_of_the_second_role_from_a_list(account, outcome):
    mapping = {**MAPPINGS[0], "chain": CHOSEN}
    decided = decide({"groups": ["admin"], "account": account}, role_mappings=[mapping])
    assert (decided.reason if isinstance(decided, Denied) else decided.chain.role_arn) == outcome


def test_a_missing_account_denies():
    decided = decide({"groups": ["admin"]}, role_mappings=[{**MAPPINGS[0], "chain": CHOSEN}])
    assert decided.reason is Reason.POLICY_ERROR


@each_case(
    ("change", "line"),
    [
        ({"effect": "deny"}, "role_mappings[0]: effect: deny takes no role_arn, chain, session_duration or session policy"),
        ({"role_arn": None}, "role_mappings[0]: role_arn is required, unless effect is deny"),
        ({"policy": "{}"}, 'role_mappings[0].policy: policy: needs "Version": "2012-10-17" and a "Statement"'),
        ({"policy": "x"}, "role_mappings[0].policy: policy: not valid JSON"),
        ({"policy": '{"a":1,"a":1}'}, "role_mappings[0].policy: policy: duplicate member names"),
        (
            {"policy": INLINE.replace("s3", "€")},
            "role_mappings[0].policy: policy: STS takes characters up to U+00FF only",
        ),
        (
            {"policy_arns": [READ_ONLY, READ_ONLY]},
            "role_mappings[0]: policy_arns: an ARN is listed twice",
        ),
        (
            {"policy_arns": [f"{READ_ONLY}{n}" for n in range(11)]},
            "role_mappings[0]: policy_arns: STS takes at most 10",
        ),
        (
            {"policy_arns": [READ_ONLY], "policy": INLINE.replace("*", "x" * 2000, 1)},
            "role_mappings[0]: policy and policy_arns: 2128 characters together; STS takes 2048",
        ),
        (
            {"policy_arns": ["arn:aws:iam::aws:role/X"]},
            "role_mappings[0].policy_arns[0]: not the ARN of a managed policy (arn:aws:iam::aws:policy/NAME)",
        ),
        (
            {"chain": {**CHOSEN, "accounts": []}},
            "role_mappings[0].chain: account and accounts need each other",
        ),
        (
            {"chain": {**CHOSEN, "role_arn": "arn:aws:iam::1:role/X"}},
            "role_mappings[0].chain: role_arn: must have {account} once, for account",
        ),
    ],
)  # fmt: skip
def test_what_sts_would_refuse_is_refused_at_load(change, line):
    assert refused(role_mappings=[{**MAPPINGS[0], **change}]) == [line]


def test_a_ceiling_needs_exactly_one_effect_and_a_mapping_that_exists():
    ceiling = {"name": "c", "matcher": "true"}
    one = "ceilings[0]: exactly one of max_mapping and a session policy is required"
    assert refused(ceilings=[ceiling]) == [one]
    assert refused(ceilings=[{**ceiling, "max_mapping": "sre", "policy": INLINE}]) == [one]
    assert refused(ceilings=[{**ceiling, "max_mapping": "x"}]) == [
        "ceilings[0].max_mapping: no mapping with a role has the name 'x'"
    ]


def test_names_are_unique():
    assert refused(role_mappings=[MAPPINGS[0], MAPPINGS[0]]) == ["role_mappings: name 'admin' is used twice"]


def test_rules_that_never_apply_are_warned_of():
    mappings = [
        {"name": "never", "matcher": "1 == 2", "role_arn": ACCOUNT + "A"},
        MAPPINGS[0],
        {"name": "again", "claim": "admin", "role_arn": ACCOUNT + "B", "priority": 2},
        {"name": "always", "matcher": '"a" in ["a"]', "role_arn": ACCOUNT + "C"},
        {"name": "late", "matcher": "has(claims.x)", "role_arn": ACCOUNT + "D"},
    ]
    policy = build_policy(settings(role_mappings=mappings, fallback_role_arn=ACCOUNT + "F"))
    assert list(warnings(policy)) == [
        "mapping again: never reached, since mapping admin has the same condition",
        "mapping never: never matches",
        "mapping late: never reached, since mapping always always matches",
        "fallback_role_arn: never reached, since a mapping always matches",
    ]


@each_case(
    ("matcher", "read"),
    [
        ("true", "nothing"),
        ('claims.groups.exists(g, g == claims["sub"])', "claims.groups, claims.sub"),
        ('mcp.tool == "x" && has(mcp.arguments.path)', "mcp.arguments.path, mcp.tool"),
        ('request.headers["x-team"] == "a" || request.method == "GET"', 'request.headers["x-team"], request.method'),
        ("request.headers[claims.team] != '' ", "claims.team, request.headers"),
        ("[mcp.arguments].exists(a, a.path == '')", "mcp.arguments"),
        ("dyn(mcp).tool == 'x'", "mcp"),
        (r'claims["a\u0062"] == 1', "claims.ab"),
    ],
)  # fmt: skip
def test_what_a_rule_reads_is_known_or_overestimated(matcher, read):
    mapping = {"name": "r", "matcher": matcher, "role_arn": ACCOUNT + "A"}
    assert list(reads(build_policy(settings(role_mappings=[mapping])))) == [f"mapping r: reads {read}"]


def test_the_session_name_may_come_from_an_expression_over_claims():
    expression = 'claims.email + (has(claims.act) ? "+" + claims.act.sub : "")'
    claims = {"groups": ["admin"], "email": "a@example.com"}
    assert decide({**claims, **acting("bot")}, session_name=expression).session_name == "a@example.com+bot"
    assert decide({"groups": ["admin"]}, session_name=expression).reason is Reason.SESSION_NAME_INVALID
    assert refused(session_name="request.path") == [
        "session_name: CEL: column 1: undeclared variable 'request'"
    ]


def test_names_that_sts_does_not_accept_are_replaced_or_rejected():
    claims = {"groups": ["admin"], "sub": "auth0|alice"}
    assert decide(claims).session_name.startswith("auth0-alice-")
    assert decide(claims, session_name_invalid="reject").reason is Reason.SESSION_NAME_INVALID
    assert decide({"groups": ["admin"]}, session_name_invalid="reject").session_name == "alice"


@each_case(
    ("matcher", "about"),
    [
        ('mcp.tool == "rm"', "this tool"),
        ('mcp.arguments.x == "rm" || mcp.tool == "y"', "this tool"),
        ('mcp.method == "tools/list"', "make this request"),
        ('request.path == "/mcp"', "make this request"),
        ('claims.sub == "alice"', "your account."),
    ],
)
def test_the_text_of_a_denial_shows_the_subject_of_the_rule_and_not_the_rule(matcher, about):
    rule = {"name": "secret-name", "matcher": matcher, "effect": "deny"}
    policy = build_policy(settings(role_mappings=[*MAPPINGS, rule]))
    (told,) = [_client_text(entry.reads) for entry in policy.rules if entry.role_arn is None]
    assert about in told
    assert "rm" not in told
    assert "secret-name" not in told


def test_the_message_of_a_deny_rule_reaches_the_client_each_time():
    denied = decide(
        {},
        role_mappings=[
            *MAPPINGS,
            {"matcher": 'claims.sub == "alice"', "effect": "deny", "message": "Not you."},
        ],
    )
    assert (denied.reason, denied.message) == (Reason.POLICY_DENIED, "Not you.")
    assert denied.anew().message == "Not you."
    assert denied.anew() is not denied


def test_the_message_of_a_ceiling_reaches_the_denied_client():
    ceiling = {**CEILINGS[0], "message": "Agents may read."}
    del ceiling["max_mapping"]
    ceiling["policy_arns"] = [READ_ONLY]
    mapping = {**MAPPINGS[0], "policy_arns": [READ_ONLY]}
    denied = decide(
        {"groups": ["admin"], **acting("code-assistant")}, role_mappings=[mapping], ceilings=[ceiling]
    )
    assert (denied.reason, denied.message) == (Reason.POLICY_CONFLICT, "Agents may read.")


@each_case("message", ["", " x", "a\nb", "x" * 501, "a\x1b[0m"])
def test_a_message_is_one_line_of_printable_characters(message):
    rule = {"claim": "x", "effect": "deny", "message": message}
    assert any("message" in problem for problem in refused(role_mappings=[*MAPPINGS, rule]))


def test_a_message_for_a_mapping_that_gives_a_role_is_refused():
    assert refused(role_mappings=[{**MAPPINGS[0], "message": "x"}]) == [
        "role_mappings[0]: message is what a denied client reads: it needs effect: deny"
    ]


@each_case("status", [201, 403, "200", True])
def test_the_only_other_status_of_denials_is_200(status):
    assert settings(mcp={"denied_status": 200}).mcp.denied_status == 200
    assert refused(mcp={"denied_status": status})


@each_case(
    ("declared", "noted"),
    [
        (None, "mapping no: denies tokens without claims.realm.roles, which it reads without has()"),
        ({"realm": {"roles": "list(string)"}}, None),
        (
            {"realm?": {"roles": "list(string)"}},
            "mapping no: denies tokens without claims.realm.roles, which",
        ),
        (
            {"realm": {"roles": "list(string)?"}},
            "mapping no: denies tokens without claims.realm.roles, which",
        ),
        ({"realm": "map(list(string))"}, "mapping no: denies tokens without claims.realm.roles, which"),
        ({"realm": "any"}, "mapping no: denies tokens without claims.realm.roles, which"),
    ],
    ids=["nothing", "both", "optional", "optional member", "a map", "anything"],
)
def test_a_rule_that_denies_tokens_without_a_claim_is_noted_unless_the_schema_requires_the_claim(
    declared, noted
):
    deny = {"name": "no", "matcher": 'has(claims.realm) && "x" in claims.realm.roles', "effect": "deny"}
    policy = build_policy(
        settings(role_mappings=[deny, *MAPPINGS], claims=declared and {"groups": "list(string)", **declared})
    )
    found = [note for note in notes(policy) if note.startswith("mapping no")]
    assert found == [] if noted is None else found[0].startswith(noted)


@pytest.mark.parametrize(
    ("expression", "warned"),
    [
        ("'x' + 'y'", ["session_name: reads no claim, so that all users have one name"]),
        ("claims.iss", ["session_name: does not distinguish the users of one issuer"]),
        ("claims.iss + claims.sub", []),
    ],
)
def test_a_session_name_that_does_not_identify_users_is_warned_of(expression, warned):
    policy = build_policy(settings(session_name=expression))
    assert [warning for warning in warnings(policy) if "session_name" in warning] == warned


def test_a_rule_for_one_issuer_does_not_hide_the_same_rule_for_all():
    one = {**MAPPINGS[0], "name": "one", "issuers": ["https://idp.example.com/"], "priority": 0}
    hidden = {**one, "name": "hidden", "priority": 0}
    policy = build_policy(settings(role_mappings=[one, MAPPINGS[0], hidden]))
    assert [warning for warning in warnings(policy) if "never reached" in warning] == [
        "mapping hidden: never reached, since mapping one has the same condition"
    ]
