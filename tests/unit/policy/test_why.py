"""Why a rule matched or not: the decisive part, and missing members."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.policy.cel import Budget, EvaluationError, compile_bool
from extproc.policy.cel.parts import parts
from extproc.policy.inputs import Inputs
from extproc.policy.matchers import VARIABLES, ClaimContains, cel_matcher
from extproc.policy.rules import Policy, Rule
from extproc.policy.why import why
from extproc.values import Identity
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/R"


def reasons(matcher, claims, *, deny=False, issuers=None, mcp=None):
    if isinstance(matcher, str):
        matcher = cel_matcher(matcher)
    rule = Rule("r", matcher, None if deny else ROLE, None, issuers=issuers)
    policy = Policy(rules=[rule], fallback_role_arn=ROLE, session_name_claim="sub", session_duration=900)
    identity = Identity("https://idp.example", "alice", 0.0, {"sub": "alice", **claims}, None)
    inputs = Inputs(mcp=mcp or {})
    (entry,) = policy.decide(identity, inputs).evaluated
    return why(entry, policy.variables(identity, inputs, Budget()))


@each_case(
    ("source", "claims", "told"),
    [
        ("claims.a == 1", {"a": 1}, ()),
        ("claims.a == 1", {"a": 2}, ("claims.a == 1 is false",)),
        ("claims.a == 1", {}, ("claims.a is missing",)),
        ("claims.a.b == 1", {"a": {"c": 1, "d": 2}}, ("claims.a.b is missing (claims.a has c, d)",)),
        ("claims.a.b == 1", {"a": {}}, ("claims.a.b is missing (claims.a has nothing)",)),
        ("claims.a == 1 && claims.b == 1", {"a": 1, "b": 2}, ("claims.b == 1 is false",)),
        ("claims.a == 1 && claims.b == 1", {"a": 1}, ("claims.b is missing",)),
        # False decides, whatever is missing beside it.
        ("claims.a == 1 && claims.b == 1", {"a": 2}, ("claims.a == 1 is false",)),
        ("claims.a == 1 || claims.b == 1", {"a": 2}, ("claims.a == 1 is false", "claims.b is missing")),
        ("claims.a == 1 || claims.b == 1", {"a": 2, "b": 1}, ("claims.b == 1 is true",)),
        (
            "claims.a == 1 && (claims.b == 1 || claims.c == 1)",
            {"a": 1, "b": 2, "c": 2},
            ("claims.b == 1 is false", "claims.c == 1 is false"),
        ),
        (
            "!(claims.a == 1 || claims.b == 1)",
            {"a": 1, "b": 2},
            ("!(claims.a == 1 || claims.b == 1) is false",),
        ),
        ("claims.a  ==\n  1", {"a": 2}, ("claims.a == 1 is false",)),
        ("has(claims.a)", {}, ("has(claims.a) is false",)),
        ('"x && y" in claims.a', {"a": []}, ('"x && y" in claims.a is false',)),
        ("claims.a == 1 && mcp.tool == 'x'", {"a": 1}, ("mcp.tool is missing: the request has none",)),
    ],
)
def test_the_part_that_decided_is_named(source, claims, told):
    assert reasons(source, claims) == told


def test_the_part_with_an_error_is_named():
    (told,) = reasons("claims.a == 1 && int(claims.b) < 5 && claims.c", {"a": 1, "b": None})
    assert told.startswith("int(claims.b) < 5: ")


def test_a_deny_rule_that_applies_because_a_claim_is_missing_says_so():
    assert reasons("claims.level < 3", {}, deny=True) == ("claims.level is missing",)


def test_the_short_form_claim_is_explained_alike():
    assert reasons(ClaimContains("groups", "sre"), {"groups": ["dev"]}) == (
        'claims.groups does not have "sre"',
    )
    assert reasons(ClaimContains("groups", "sre"), {}) == ("claims.groups is missing",)
    assert reasons(ClaimContains("groups", "sre"), {"groups": ["sre"]}) == ()


def test_a_rule_for_other_issuers_says_for_which():
    issuers = frozenset({"https://b.example", "https://a.example"})
    told = reasons("true", {}, issuers=issuers)
    assert told == ("for tokens of https://a.example, https://b.example only",)


def test_values_of_claims_are_never_shown():
    secret = "canary-7f3a"
    for source in ('claims.a == "x"', "claims.a.b == 1", "int(claims.a) == 1", "claims.a.exists(x, x == 1)"):
        assert secret not in str(reasons(source, {"a": secret}))


def test_many_names_are_cut_short():
    (told,) = reasons("claims.a.b", {"a": {f"n{number:02d}": 1 for number in range(30)}})
    assert told.endswith("n19 and 10 more)")


OPERANDS = (
    'claims.a == "&&"',
    r"claims.a == r'\d'",
    "claims.a == '''it's || \"so\"'''",
    r'claims.a == "\\" || claims.a == "\" && "',
    "claims.b ? true : claims.b && false",
    "(claims.b)",
    "claims.b // or || not\n",
    "!has(claims.c)",
    "[1, 2].exists(x, x > 1 || x < 0)",
    "{'a': [true, false && true]}['a'][0]",
    "(1 + 2) == 3",
    "b'x' == b'x'",
    "true",
)
EMPTY = {"request": {}, "mcp": {}, "agents": []}


def chained(operands, operator):
    return f" {operator} ".join(f"({operand})" for operand in operands)


EXPRESSIONS = st.recursive(
    st.sampled_from(OPERANDS),
    lambda inner: st.builds(chained, st.lists(inner, min_size=2, max_size=3), st.sampled_from(["&&", "||"])),
    max_leaves=8,
)


def joined(part):
    """The expression, put together of its parts."""
    return chained(map(joined, part.operands), part.operator) if part.operator else part.source


def leaves(part):
    return [leaf for operand in part.operands for leaf in leaves(operand)] or [part.source]


def meaning(source):
    """What it comes to for some claims, errors included."""
    outcomes = []
    condition = compile_bool(source, variables=VARIABLES)
    for claims in ({}, {"a": "&&"}, {"a": "\\", "b": True}, {"b": False, "c": 1}):
        try:
            outcomes.append(condition.matches({**EMPTY, "claims": claims}))
        except EvaluationError as error:
            outcomes.append(str(error))
    return outcomes


@given(EXPRESSIONS)
def test_the_parts_combined_mean_the_same_and_each_is_an_expression(source):
    whole = parts(source)
    assert meaning(joined(whole)) == meaning(source)
    assert set(leaves(whole)) <= {leaf for operand in OPERANDS for leaf in leaves(parts(operand))}


def test_a_part_that_is_no_condition_by_itself_is_shown_with_its_error():
    """As where the first evaluation had more CPU time than this one."""
    rule = Rule("r", cel_matcher("claims.a < 1"), ROLE, None)
    policy = Policy(rules=[rule], fallback_role_arn=ROLE, session_name_claim="sub", session_duration=900)
    (entry,) = policy.decide(Identity("i", "alice", 0.0, {"sub": "alice", "a": 2}, None), Inputs()).evaluated
    assert why(entry, {"claims": {"a": "x"}}) == ("claims.a < 1: no < for string, int",)
