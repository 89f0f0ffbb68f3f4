"""Mappings, deny rules and ceilings that require scopes, and when a client must request more of them."""

from hypothesis import given
from hypothesis import strategies as st

from extproc import config
from extproc.app.factories import build_policy
from extproc.errors import Denied, Reason
from extproc.policy.inputs import Inputs
from extproc.policy.review import warnings
from extproc.values import Grant, Identity

ROLE = "arn:aws:iam::123456789012:role/"
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def policy(*mappings, ceilings=(), fallback=None, scopes=None, baseline=()):
    entries = []
    for name, entry in mappings:
        effect = {} if entry.get("effect") == "deny" else {"role_arn": ROLE + name}
        entries.append({"name": name, **effect, **entry})
    return build_policy(
        config.validate(
            {
                "resource": {"url": "https://mcp.example/mcp"},
                "issuers": [
                    {
                        "issuer": "https://idp.example",
                        "audiences": ["https://mcp.example/mcp"],
                        "required_scopes": list(baseline),
                    }
                ],
                "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
                "scopes": scopes or {},
                "role_mappings": entries,
                "ceilings": [{"name": name, **entry} for name, entry in ceilings],
                **({"fallback_role_arn": ROLE + fallback} if fallback else {}),
            }
        )
    )


def decide(rules, scope="", tool=None, **claims):
    identity = Identity(
        "https://idp.example", "alice", 2e9, {"sub": "alice", "scope": scope, **claims}, key_thumbprint=b"k"
    )
    return rules.decide(identity, Inputs(mcp={"tool": tool} if tool else {}))


def outcome(rules, scope="", tool=None, **claims):
    """The role's name, or the reason and the scopes to ask for."""
    got = decide(rules, scope, tool, **claims).outcome
    if isinstance(got, Grant):
        return got.role_arn.removeprefix(ROLE)
    return (got.reason, " ".join(got.scopes)) if got.scopes else got.reason


ALWAYS = {"matcher": "true"}
GROUP = {"claim": "sre"}

# Mappings.


def test_a_mapping_gives_its_role_to_tokens_with_its_scopes_and_denials_name_the_scopes():
    rules = policy(("SRE", {**GROUP, "require_scopes": ["aws:call", "aws:read"]}), baseline=["mcp"])
    assert outcome(rules, "mcp aws:read aws:call", groups=["sre"]) == "SRE"
    assert outcome(rules, "mcp aws:read", groups=["sre"]) == (Reason.SCOPE_MISSING, "mcp aws:call aws:read")
    assert outcome(rules, "mcp", groups=["sre"]) == (Reason.SCOPE_MISSING, "mcp aws:call aws:read")


def test_no_login_is_requested_if_the_scopes_would_give_no_role():
    rules = policy(("SRE", {**GROUP, "require_scopes": ["aws:call"]}))
    assert outcome(rules, groups=["dev"]) is Reason.NO_ROLE
    assert outcome(rules, groups=None) is Reason.POLICY_ERROR


def test_a_broader_scope_is_enough():
    rules = policy(("SRE", {**GROUP, "require_scopes": ["aws:call"]}), scopes={"aws:*": ["aws:call"]})
    assert outcome(rules, "aws:*", groups=["sre"]) == "SRE"
    # It says which scope is needed, never a broader one than that.
    assert outcome(rules, "aws:cal", groups=["sre"]) == (Reason.SCOPE_MISSING, "aws:call")


def test_a_mapping_without_its_scopes_is_skipped_for_a_later_one_and_explain_shows_it():
    rules = policy(
        ("Admin", {**ALWAYS, "require_scopes": ["admin"]}), ("Dev", ALWAYS), ("Never", ALWAYS), fallback="Low"
    )
    assert outcome(rules, "admin") == "Admin"
    decision = decide(rules)
    assert decision.rule.name == "Dev"
    assert [(entry.rule.name, entry.matched, entry.lacking) for entry in decision.evaluated] == [
        ("Admin", False, ("admin",)),
        ("Dev", True, None),
    ]


def test_the_scopes_of_the_first_mapping_that_lacks_only_scopes_are_requested():
    rules = policy(
        ("Other", {"claim": "x", "require_scopes": ["other"]}),
        ("Admin", {**GROUP, "require_scopes": ["admin"]}),
        ("Dev", {**GROUP, "require_scopes": ["dev"]}),
    )
    assert outcome(rules, groups=["sre"]) == (Reason.SCOPE_MISSING, "admin")
    assert outcome(rules, "dev", groups=["sre"]) == "Dev"
    assert outcome(rules, "admin", groups=["sre"]) == "Admin"


def test_the_fallback_role_is_for_tokens_that_no_mapping_matches():
    rules = policy(("SRE", {**GROUP, "require_scopes": ["aws:call"]}), fallback="Low")
    assert outcome(rules, groups=["dev"]) == "Low"
    assert outcome(rules, groups=["sre"]) == (Reason.SCOPE_MISSING, "aws:call")


def test_an_error_after_a_mapping_that_lacks_scopes_denies():
    rules = policy(("Admin", {**ALWAYS, "require_scopes": ["admin"]}), ("Dev", {"matcher": "claims.a > 1"}))
    assert outcome(rules, a="x") is Reason.POLICY_ERROR
    assert outcome(rules, "admin", a="x") == "Admin"


# Deny rules.

GUARD = {"matcher": 'mcp.tool == "run"', "effect": "deny", "require_scopes": ["aws:call"]}


def test_a_deny_rule_with_scopes_spares_tokens_that_have_them():
    rules = policy(("guard", GUARD), ("SRE", GROUP), baseline=["mcp"])
    assert outcome(rules, "mcp", "look", groups=["sre"]) == "SRE"
    assert outcome(rules, "mcp", "run", groups=["sre"]) == (Reason.SCOPE_MISSING, "mcp aws:call")
    assert outcome(rules, "mcp aws:call", "run", groups=["sre"]) == "SRE"


def test_no_later_mapping_lifts_a_deny_rule_with_scopes():
    rules = policy(("guard", GUARD), ("SRE", ALWAYS), fallback="Low")
    assert outcome(rules, "", "run") == (Reason.SCOPE_MISSING, "aws:call")


def test_a_deny_rule_with_scopes_applies_to_tokens_without_the_claim_that_it_reads():
    rules = policy(
        ("guard", {"matcher": "claims.level < 3", "effect": "deny", "require_scopes": ["senior"]}),
        ("SRE", ALWAYS),
    )
    assert outcome(rules) == (Reason.SCOPE_MISSING, "senior")
    assert outcome(rules, level=5) == "SRE"
    assert outcome(rules, "senior") == "SRE"


def test_no_login_is_requested_if_another_rule_denies():
    never = ("never", {"matcher": "has(claims.blocked)", "effect": "deny"})
    for order in ((("guard", GUARD), never), (never, ("guard", GUARD))):
        rules = policy(*order, ("SRE", GROUP))
        assert outcome(rules, "", "run", groups=["sre"], blocked=True) is Reason.POLICY_DENIED
        assert outcome(rules, "", "run", groups=["sre"]) == (Reason.SCOPE_MISSING, "aws:call")
        assert outcome(rules, "", "run", groups=[]) is Reason.NO_ROLE


def test_all_missing_scopes_are_requested_at_once():
    rules = policy(
        ("guard", GUARD),
        ("guard2", {**GUARD, "require_scopes": ["aws:write"]}),
        ("SRE", {**GROUP, "require_scopes": ["sre", "aws:call"]}),
        baseline=["mcp"],
    )
    assert outcome(rules, "mcp", "run", groups=["sre"]) == (
        Reason.SCOPE_MISSING,
        "mcp aws:call aws:write sre",
    )
    assert outcome(rules, "mcp sre", "run", groups=["sre"]) == (
        Reason.SCOPE_MISSING,
        "mcp aws:call aws:write sre",
    )
    assert outcome(rules, "mcp aws:call aws:write sre", "run", groups=["sre"]) == "SRE"


# Ceilings.


def test_a_ceiling_with_scopes_applies_to_tokens_that_lack_them():
    rules = policy(
        ("Admin", ALWAYS),
        ("Reader", {"claim": "nobody"}),
        ceilings=[("agents", {**ALWAYS, "max_mapping": "Reader", "require_scopes": ["aws:write"]})],
    )
    assert outcome(rules) == "Reader"
    assert outcome(rules, "aws:write") == "Admin"


def test_after_a_ceiling_that_scopes_lift_the_next_one_applies():
    rules = policy(
        ("Admin", ALWAYS),
        ("Dev", {"claim": "nobody"}),
        ("Reader", {"claim": "nobody else"}),
        ceilings=[
            ("first", {**ALWAYS, "max_mapping": "Reader", "require_scopes": ["aws:write"]}),
            ("second", {**ALWAYS, "max_mapping": "Dev"}),
        ],
    )
    assert [outcome(rules, scope) for scope in ("", "aws:write")] == ["Reader", "Dev"]


def test_no_token_is_lowered_to_a_role_without_its_scopes():
    rules = policy(
        ("Admin", ALWAYS),
        ("Reader", {"claim": "nobody", "require_scopes": ["aws:read"]}),
        ceilings=[("agents", {**ALWAYS, "max_mapping": "Reader"})],
    )
    assert outcome(rules) == (Reason.SCOPE_MISSING, "aws:read")
    assert outcome(rules, "aws:read") == "Reader"


def test_a_ceiling_does_not_spare_the_scopes_of_the_mapping_that_it_lowers():
    rules = policy(
        ("Admin", {**ALWAYS, "require_scopes": ["admin"]}),
        ("Reader", {"claim": "nobody", "require_scopes": ["read"]}),
        ceilings=[("agents", {**ALWAYS, "max_mapping": "Reader"})],
    )
    assert outcome(rules) == (Reason.SCOPE_MISSING, "admin read")
    assert outcome(rules, "admin") == (Reason.SCOPE_MISSING, "admin read")
    assert outcome(rules, "admin read") == "Reader"


def test_no_login_is_requested_if_no_session_is_possible():
    rules = policy(
        ("Admin", {**ALWAYS, "require_scopes": ["admin"], "policy_arns": [READ_ONLY]}),
        ceilings=[("agents", {"matcher": "agents != []", "policy_arns": [READ_ONLY]})],
    )
    assert outcome(rules, act={"sub": "bot"}) is Reason.POLICY_CONFLICT
    assert outcome(rules) == (Reason.SCOPE_MISSING, "admin")


def test_the_detail_names_rules_and_scopes_of_the_configuration_and_nothing_of_the_token():
    rules = policy(("guard", GUARD), ("SRE", {**GROUP, "require_scopes": ["sre"]}))
    denied = decide(rules, 'own"secret', "run", groups=["sre"]).outcome
    assert isinstance(denied, Denied)
    assert denied.detail == "mapping guard needs scope aws:call; mapping SRE needs scope sre"
    assert "secret" not in " ".join(denied.scopes)


# Whatever the rules are.

_scopes = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2, unique=True)
_condition = st.sampled_from(["true", "false", "has(claims.x)", 'mcp.tool == "run"'])
_mappings = st.lists(
    st.tuples(_condition, _scopes, st.sampled_from(["allow", "allow", "deny"])), min_size=1, max_size=5
)


@given(
    _mappings,
    st.lists(st.tuples(_condition, _scopes), max_size=2),
    st.booleans(),
    st.sets(st.sampled_from(["a", "b", "all"])),
    st.sampled_from([None, "run"]),
)
def test_a_challenge_is_sent_only_if_it_helps_and_no_role_is_given_without_its_scopes(
    mappings, ceilings, fallback, granted, tool
):
    entries = [
        (f"m{n}", {"matcher": condition, "require_scopes": scopes, "effect": effect})
        for n, (condition, scopes, effect) in enumerate(mappings)
    ]
    roles = [name for name, entry in entries if entry["effect"] == "allow"]
    if not roles and not fallback:
        return
    caps = [
        (f"c{n}", {"matcher": condition, "require_scopes": scopes, "max_mapping": roles[-1]})
        for n, (condition, scopes) in enumerate(ceilings if roles else [])
    ]
    hierarchy = {"all": ["a", "b", "c"]}
    rules = policy(*entries, ceilings=caps, fallback="Low" if fallback else None, scopes=hierarchy)
    decision = decide(rules, " ".join(granted), tool)
    applies = {"true": True, "false": False, "has(claims.x)": False, 'mcp.tool == "run"': tool == "run"}
    if isinstance(decision.outcome, Grant):
        demanded = [set(decision.rule.require_scopes.names) if decision.rule else set()]
        for condition, scopes, effect in mappings:
            if effect == "deny" and applies[condition]:
                assert scopes
                demanded.append(set(scopes))
        assert "all" in granted or all(scopes <= granted for scopes in demanded)
    elif decision.outcome.reason is Reason.SCOPE_MISSING:
        assert isinstance(decide(rules, " ".join(decision.outcome.scopes), tool).outcome, Grant)
    else:
        # With all the scopes there are it is denied too.
        assert isinstance(decide(rules, "all", tool).outcome, Denied)


def test_a_rule_hides_another_only_if_it_takes_every_token_of_it():
    def hidden(first, second):
        rules = policy(("first", {**GROUP, **first}), ("second", {**GROUP, **second}), fallback="Low")
        return [warning for warning in warnings(rules) if "second: never reached" in warning]

    one, both, deny = {"require_scopes": ["a"]}, {"require_scopes": ["a", "b"]}, {"effect": "deny"}
    assert hidden(one, both)
    assert not hidden(both, one)
    # A deny rule with scopes is for tokens without one of them.
    assert hidden({**deny, **both}, {**deny, **one})
    assert not hidden({**deny, **one}, {**deny, **both})
    assert not hidden({**deny, **one}, deny)
    assert not hidden({**deny, **one}, one)
