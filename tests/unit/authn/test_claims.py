"""Required claims and scopes: what a token must say beyond being valid."""

import json

import pytest

from extproc.authn.claims import check_timestamps
from extproc.errors import Denied, Reason
from extproc.scopes import granted_scopes
from support.tables import each_case
from support.tokens import claims, make_verifier, mint, rsa_key, trusted_issuer


async def _refusal(body, **issuer):
    with pytest.raises(Denied) as caught:
        await make_verifier(trusted_issuer(**issuer)).verify(mint(body))
    return caught.value


@each_case(
    ("required", "present"),
    [
        (("a",), "a"),
        (("a", "b"), "b"),
        (("a",), ["x", "a"]),
        ((True,), True),
        ((7,), 7),
        (("a", 7), [7]),
    ],
)
async def test_9_a_required_claim_has_one_of_its_values_or_a_list_with_one(required, present):
    verifier = make_verifier(trusted_issuer(required_claims={"c": required}))
    assert await verifier.verify(mint(claims(c=present)))


@each_case(
    ("required", "present"),
    [
        (("a",), "b"),
        (("a",), "A"),
        (("a",), "ab"),
        (("a",), []),
        (("a",), [["a"]]),
        (("a",), {"a": "a"}),
        ((True,), 1),
        ((True,), "true"),
        ((1,), True),
        ((1,), 1.0),
        ((0,), False),
        (("1",), 1),
    ],
)
async def test_9_any_other_value_is_refused_and_types_count(required, present):
    refusal = await _refusal(claims(c=present), required_claims={"c": required})
    assert refusal.reason is Reason.CLAIM_REQUIRED
    assert refusal.detail == "claim c has no required value"


async def test_9_an_absent_claim_is_refused_and_all_of_them_are_required():
    required = {"tid": ("t1",), "azp": ("client",)}
    assert (await _refusal(claims(tid="t1"), required_claims=required)).detail == "claim azp is missing"
    nulled = b'{"c": null, ' + json.dumps(claims()).encode()[1:]
    assert (await _refusal(nulled, required_claims={"c": ("a",)})).reason is Reason.CLAIM_REQUIRED


@each_case(
    "body",
    [
        {"scope": "mcp aws"},
        {"scope": "openid aws mcp"},
        {"scp": "aws mcp"},
        {"scp": ["mcp", "aws", "x"]},
        {"scope": "mcp", "scp": ["aws"]},
    ],
)
async def test_10_scopes_are_read_from_scope_and_scp(body):
    assert await make_verifier(trusted_issuer(required_scopes=("mcp", "aws"))).verify(mint(claims(**body)))


@each_case(
    "body",
    [
        {},
        {"scope": "mcp"},
        {"scope": "mcp,aws"},
        {"scope": "mcp\taws"},
        {"scope": "MCP AWS"},
        {"scope": ["mcp", "aws"]},
        {"scope": {"mcp": 1, "aws": 1}},
        {"scp": ["mcp aws"]},
        {"scp": [["mcp"], "aws"]},
        {"scp": 1},
        {"scopes": "mcp aws"},
    ],
)
async def test_10_a_missing_scope_is_refused_with_all_scopes_named(body):
    refusal = await _refusal(claims(**body), required_scopes=("mcp", "aws"))
    assert refusal.reason is Reason.SCOPE_MISSING
    assert refusal.scopes == ("mcp", "aws")


def test_a_scope_is_never_the_empty_text():
    assert granted_scopes({"scope": "a"}) == {"a"}
    assert granted_scopes({}) == set()


async def test_requirements_are_looked_at_after_the_signature_and_the_times():
    stranger = mint(claims(), key=rsa_key("stranger"))
    with pytest.raises(Denied) as caught:
        await make_verifier(trusted_issuer(required_scopes=("mcp",))).verify(stranger)
    assert caught.value.reason is Reason.SIGNATURE_INVALID


@each_case(
    "typ",
    ["logout+jwt", "dpop+jwt", "secevent+jwt", "application/logout+jwt", "oauth-authz-req+jwt"],
)
def test_some_token_types_can_never_be_trusted(typ):
    with pytest.raises(ValueError, match="no access token"):
        trusted_issuer(token_types=frozenset({"at+jwt", typ}))


def test_a_required_claim_without_values_is_a_mistake():
    with pytest.raises(ValueError, match="needs values"):
        trusted_issuer(required_claims={"tid": ()})


async def test_claims_of_too_many_values_or_levels_are_refused():
    verifier = make_verifier()
    assert await verifier.verify(mint(claims(groups=["g"] * 1990)))
    with pytest.raises(Denied) as caught:
        await verifier.verify(mint(claims(groups=["g"] * 2000)))
    assert (caught.value.reason, caught.value.detail) == (Reason.TOKEN_MALFORMED, "too many values")
    nested = "x"
    for _ in range(16):
        nested = [nested]
    with pytest.raises(Denied) as caught:
        await verifier.verify(mint(claims(deep=nested)))
    assert (caught.value.reason, caught.value.detail) == (Reason.TOKEN_MALFORMED, "nested too deeply")


@each_case("name", ["exp", "nbf", "iat"])
@each_case("value", ["1", 1.5, True, -1, None])
def test_each_time_that_is_there_is_an_integer(name, value):
    check_timestamps({name: 1})
    check_timestamps({})
    with pytest.raises(Denied) as denied:
        check_timestamps({name: value})
    assert denied.value.reason is Reason.CLAIM_INVALID


async def test_a_token_without_a_required_claim_is_refused_for_it():
    denied = await _refusal(claims(), required_claims={"c": ("a",)})
    assert (denied.reason, denied.detail) == (Reason.CLAIM_REQUIRED, "claim c is missing")


async def test_who_lacks_scopes_is_told_which():
    denied = await _refusal(claims(scope="a"), required_scopes=("a", "b", "c"))
    assert denied.reason is Reason.SCOPE_MISSING
    assert denied.detail == "without scope b c"
    assert "b" in denied.client_text
