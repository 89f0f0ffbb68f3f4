"""The schema of claims: what it declares, and which tokens do not fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.app.factories import build_policy
from extproc.config import ConfigError
from extproc.errors import Reason
from extproc.policy.claims_schema import mismatch, parse_schema
from extproc.values import Identity
from support.settings import minimal_settings
from support.tables import each_case

ROLE = "arn:aws:iam::123456789012:role/R"
DECLARED = {
    "groups": "list(string)",
    "level": "int",
    "email": "string?",
    "limits": "map(list(int))?",
    "ratio": "double?",
    "mfa": "bool?",
    "extra": "any?",
    "realm_access?": {"roles": "list(string)", "nested": {"deep": "string?"}},
}
FITTING = {"groups": ["a"], "level": 3}


def settings(**changes):
    return minimal_settings(**{"fallback_role_arn": ROLE, **changes})


@each_case(
    "claims",
    [
        {},
        {"email": "a@example.com", "unknown": object},
        {"groups": []},
        {"ratio": 1},
        {"ratio": 1.5},
        {"limits": {"a": [1, 2], "b": []}},
        {"extra": None},
        {"extra": {"x": [1]}},
        {"realm_access": {"roles": [], "nested": {}}},
        {"realm_access": {"roles": ["a"], "nested": {"deep": "x"}, "more": 1}},
        {"level": -(2**63) + 1},
    ],
)
def test_these_tokens_fit(claims):
    assert mismatch(parse_schema(DECLARED), {**FITTING, **claims}) is None


@each_case(
    ("claims", "problem"),
    [
        ({"level": ...}, "claim level: int expected, and it is missing"),
        ({"level": "3"}, "claim level: int expected, string found"),
        ({"level": True}, "claim level: int expected, bool found"),
        ({"level": 3.0}, "claim level: int expected, double found"),
        ({"level": None}, "claim level: int expected, null found"),
        ({"level": 2**64}, "claim level: int expected, int found"),
        ({"groups": "hunter2"}, "claim groups: list(string) expected, string found"),
        ({"groups": {"a": 1}}, "claim groups: list(string) expected, map found"),
        ({"groups": ["a", 1]}, "claim groups[1]: string expected, int found"),
        ({"groups": ["a", ["b"]]}, "claim groups[1]: string expected, list found"),
        ({"email": None}, "claim email: string expected, null found"),
        ({"mfa": "true"}, "claim mfa: bool expected, string found"),
        ({"mfa": 1}, "claim mfa: bool expected, int found"),
        ({"ratio": True}, "claim ratio: double expected, bool found"),
        ({"limits": {"a": [1, "2"]}}, "claim limits[...][1]: int expected, string found"),
        ({"limits": ["a"]}, "claim limits: map(list(int)) expected, list found"),
        ({"realm_access": {}}, "claim realm_access.roles: list(string) expected, and it is missing"),
        ({"realm_access": []}, "claim realm_access: object expected, list found"),
        (
            {"realm_access": {"roles": [], "nested": {"deep": 1}}},
            "claim realm_access.nested.deep: string expected, int found",
        ),
    ],
)
def test_a_mismatch_names_claim_and_types_and_never_a_value(claims, problem):
    given_claims = {name: value for name, value in {**FITTING, **claims}.items() if value is not ...}
    assert mismatch(parse_schema(DECLARED), given_claims) == problem
    denied = build_policy(settings(claims=DECLARED)).decide(
        Identity("https://idp.example.com/", "alice", 2e9, {"sub": "alice", **given_claims}, b"")
    )
    assert (denied.outcome.reason, denied.outcome.detail) == (Reason.CLAIMS_SHAPE, problem)
    assert denied.outcome.reason.outcome is Reason.NO_ROLE.outcome


def test_a_token_that_fits_gets_its_role_and_without_a_schema_nothing_is_checked():
    fitting = Identity("https://idp.example.com/", "alice", 2e9, {"sub": "alice", **FITTING}, b"")
    assert build_policy(settings(claims=DECLARED)).decide(fitting).outcome.role_arn == ROLE
    odd = Identity("https://idp.example.com/", "alice", 2e9, {"sub": "alice", "groups": 1}, b"")
    assert build_policy(settings()).decide(odd).outcome.role_arn == ROLE


@each_case(
    ("declared", "message"),
    [
        ({"groups": "list(strin)"}, "groups: 'strin' is not a type"),
        ({"groups": "list"}, "groups: 'list' is not a type"),
        ({"groups": "list(string"}, "groups: 'list(string' is not a type"),
        ({"groups": "List(string)"}, "groups: 'List(string)' is not a type"),
        ({"groups": "list(string?)"}, "groups: elements are never absent"),
        ({"groups": ""}, "groups: '' is not a type"),
        ({"groups": "?"}, "groups: '?' is not a type"),
        ({"groups": "string??"}, "groups: 'string??' is not a type"),
        ({"groups": ["string"]}, "groups: must be a type"),
        ({"groups": None}, "groups: must be a type"),
        ({"a": {"b": "x"}}, "a.b: 'x' is not a type"),
        ({"a?": "string"}, 'a: write "?" after the type'),
        ({"a": {}, "a?": {}}, "a: is declared twice"),
        ({"": "string"}, "a claim without a name"),
    ],
)
def test_an_invalid_type_is_refused_with_its_path(declared, message):
    with pytest.raises(ConfigError) as error:
        settings(claims=declared)
    assert error.value.problems[0].startswith(f"claims: {message}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_any_accepts_everything_and_no_value_raises(value):
    for declared in ("string", "int", "bool", "double", "list(int)", "map(string)", "list(map(bool))"):
        mismatch(parse_schema({"c": declared}), {"c": value})
    assert mismatch(parse_schema({"c": "any"}), {"c": value}) is None
