from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Denied, Reason
from extproc.policy.ceilings import Ceiling
from extproc.policy.inputs import Inputs
from extproc.policy.matchers import cel_matcher
from extproc.policy.review import warnings
from extproc.policy.rules import Policy, Rule
from extproc.policy.validity import LONGEST_REASON, Periods, ReasonSource, Validity, clean
from extproc.policy.why import why
from extproc.values import Identity, RequestHead
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/R"
IDENTITY = Identity("https://idp.example.com/", "alice", 2e9, {"sub": "alice"}, None)
TEMPORARY = Validity(100.0, 200.0)


def rule(name, *, matcher="true", role_arn=ROLE, **more):
    return Rule(name, cel_matcher(matcher), role_arn, None, **more)


def policy(*rules, **more):
    settings = {"fallback_role_arn": None, "session_name_claim": "sub", "session_duration": 900}
    return Policy(rules=list(rules), **{**settings, **more})


def outcome(made, *, now=None, reason=None):
    return made.decide(IDENTITY, Inputs(now=now, reason=reason)).outcome


@each_case(("now", "given"), [(99.9, False), (100.0, True), (199.9, True), (200.0, False), (None, False)])
def test_a_role_is_given_from_the_first_moment_until_before_the_second(now, given):
    found = outcome(policy(rule("r", validity=TEMPORARY)), now=now)
    assert (not isinstance(found, Denied)) is given
    if given:
        assert found.ends_at == 200.0


@each_case(("now", "denies"), [(99.9, False), (100.0, True), (200.0, False), (None, True)])
def test_a_deny_rule_for_a_time_applies_in_it_and_where_the_time_is_unknown(now, denies):
    made = policy(rule("freeze", role_arn=None, validity=TEMPORARY), rule("r"))
    assert isinstance(outcome(made, now=now), Denied) is denies


@each_case(
    ("validity", "now", "counts"),
    [
        (Validity(begins_at=100.0), 100.0, True),
        (Validity(begins_at=100.0), 99.0, False),
        (Validity(ends_at=200.0), 0.0, True),
        (Validity(ends_at=200.0), 200.0, False),
    ],
)
def test_one_of_the_moments_is_enough(validity, now, counts):
    assert validity.includes(now, restricts=False) is counts


def test_a_role_that_must_be_asked_for_with_a_reason_is_not_given_without():
    made = policy(rule("incident", break_glass=True), rule("usual"))
    assert outcome(made).mapping == "usual"
    assert outcome(made).break_glass is None
    given = outcome(made, reason="ticket 12")
    assert (given.mapping, given.break_glass, given.ends_at) == ("incident", "ticket 12", None)
    assert "ticket" not in repr(given)
    assert outcome(policy(rule("usual")), reason="ticket 12").break_glass is None


def test_a_ceiling_lowers_to_no_role_that_does_not_count_now():
    ceiling = Ceiling(name="agents", matcher=cel_matcher("true"), priority=None, max_mapping="low")
    made = policy(rule("high"), rule("low", validity=TEMPORARY), ceilings=[ceiling])
    assert outcome(made, now=150.0).ends_at == 200.0
    denied = outcome(made, now=250.0)
    assert (denied.reason, denied.detail) == (
        Reason.POLICY_DENIED,
        "mapping low, to which the ceiling lowers: not valid now",
    )


def test_a_role_of_two_mappings_ends_with_the_first_of_them():
    ceiling = Ceiling(name="agents", matcher=cel_matcher("true"), priority=None, max_mapping="low")
    high, low = (
        rule("high", validity=Validity(ends_at=300.0), break_glass=True),
        rule("low", validity=TEMPORARY),
    )
    given = outcome(policy(high, low, ceilings=[ceiling]), now=150.0, reason="why")
    assert (given.mapping, given.ends_at, given.break_glass) == ("low", 200.0, "why")


def test_it_is_explained():
    made = policy(rule("a", validity=TEMPORARY), rule("b", break_glass=True))
    evaluated = made.decide(IDENTITY, Inputs(now=0.0)).evaluated
    assert [why(entry, {}) for entry in evaluated] == [
        ("not valid now",),
        ("break glass: the request has no reason",),
    ]


def test_a_mapping_for_a_time_hides_no_later_one():
    for limited in (rule("a", validity=TEMPORARY), rule("a", break_glass=True)):
        assert not list(warnings(policy(limited, rule("b"))))
    later = rule("b", matcher="claims.x == 'y'")
    limited = rule("a", matcher="claims.x == 'y' || claims.x == 'z'", validity=TEMPORARY)
    assert not list(warnings(policy(limited, later)))
    assert list(warnings(policy(rule("a"), rule("b", validity=TEMPORARY))))


def test_only_policies_with_such_mappings_pay_for_them():
    plain = policy(rule("a"), reason_source=ReasonSource("x-reason", "reason"))
    assert plain.counts_always
    assert plain.reads_nothing
    assert plain.reason_source is None
    assert not plain.reads_mcp
    for limited in (rule("a", validity=TEMPORARY), rule("a", break_glass=True)):
        assert not policy(limited).counts_always
        assert not policy(limited).reads_nothing


def test_a_reason_in_an_argument_needs_the_message():
    made = policy(rule("a", break_glass=True), reason_source=ReasonSource("x-reason", "reason"))
    assert made.reads_mcp


def head(*values):
    return RequestHead("POST", "/", "x", tuple(("x-reason", value) for value in values), has_body=True)


@each_case(
    ("values", "arguments", "expected"),
    [
        (["why"], None, "why"),
        ([], None, None),
        (["a", "b"], None, None),
        (["\u0001 \u202e"], None, None),
        (["x" * 1025], None, None),
        (["why"], {"reason": "other"}, "why"),
        ([], {"reason": "other"}, "other"),
        ([], {"reason": 7}, None),
        ([], {}, None),
        ([], ["reason"], None),
        (["", "b"], {"reason": "other"}, None),
    ],
)
def test_there_is_one_reason_or_none(values, arguments, expected):
    assert ReasonSource("x-reason", "reason").find(head(*values), arguments) == expected


def test_arguments_are_not_looked_at_unless_configured():
    assert ReasonSource("x-reason").find(head(), {"reason": "other"}) is None


@given(st.text())
def test_a_reason_in_logs_is_one_short_printable_line(text):
    cleaned = clean(text)
    assert len(cleaned) <= LONGEST_REASON
    assert cleaned.isprintable()
    assert clean(cleaned) == cleaned


def test_periods_change_at_each_moment():
    periods = Periods([TEMPORARY, Validity(ends_at=150.0), Validity()])
    assert [periods.number(now) for now in (None, 99.0, 100.0, 149.0, 150.0, 200.0)] == [-1, 0, 1, 1, 2, 3]
    assert periods
    assert not Periods([Validity()])


@each_case(
    ("earlier", "later", "is_hidden"),
    [
        ({"break_glass": True}, {"break_glass": True}, True),
        ({"break_glass": True}, {}, False),
        ({}, {"break_glass": True}, True),
        ({"validity": Validity(ends_at=9.0)}, {"validity": Validity(ends_at=8.0)}, True),
        ({"validity": Validity(ends_at=9.0)}, {"validity": Validity(ends_at=9.5)}, False),
        ({"validity": Validity(ends_at=9.0)}, {}, False),
        ({"validity": Validity(begins_at=1.0)}, {"validity": Validity(begins_at=1.0, ends_at=2.0)}, True),
        ({"validity": Validity(begins_at=1.0)}, {"validity": Validity(begins_at=0.5)}, False),
        ({"validity": Validity(begins_at=1.0)}, {"validity": Validity(ends_at=0.5)}, False),
        (
            {"validity": Validity(ends_at=9.0), "break_glass": True},
            {"validity": Validity(ends_at=8.0)},
            False,
        ),
    ],
)
@each_case("matchers", [("claims.x == 'y'",) * 2, ("claims.x == 'y' || claims.z", "claims.x == 'y'")])
def test_a_mapping_hides_a_later_one_that_counts_only_where_it_counts(earlier, later, is_hidden, matchers):
    first, second = matchers
    made = policy(rule("a", matcher=first, **earlier), rule("b", matcher=second, **later), rule("c"))
    assert any("mapping b: never reached" in warning for warning in warnings(made)) is is_hidden
