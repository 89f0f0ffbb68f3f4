"""Envoy's word for a token counts for exactly that token, and only where it is configured to count."""

import json

import pytest

from extproc.authn.envoy_jwt import MAX_EXACT, is_same_token
from extproc.authn.verifier import Step
from extproc.errors import Denied, Reason
from support.tables import each_case
from support.tokens import NOW, claims, header, make_verifier, mint, rsa_key, trusted_issuer


def _struct(body):
    """Claims as a protobuf Struct would carry them."""
    return json.loads(json.dumps(body), parse_int=float)


def _by_envoy(**changes):
    return make_verifier(trusted_issuer(keys=None, **changes))


async def _refusal(verifier, token, payload):
    with pytest.raises(Denied) as caught:
        await verifier.verify(token, jwt_payload=payload)
    return caught.value


async def test_a_token_that_envoy_verified_becomes_an_identity_without_a_key_of_ours():
    body = claims(groups=["a", "b"], act={"sub": "x", "n": 1.5}, email_verified=True, nothing=[])
    steps = []
    identity = await _by_envoy().verify(mint(body), jwt_payload=_struct(body), begin=steps.append)
    assert (identity.subject, identity.key_thumbprint) == ("alice", None)
    assert identity.claims == body
    assert type(identity.claims["exp"]) is int
    assert Step.KEY not in steps


async def test_without_envoys_word_the_token_is_refused():
    refusal = await _refusal(_by_envoy(), mint(), None)
    assert refusal.reason is Reason.ENVOY_UNVERIFIED
    assert refusal.reason.outcome.status == 401


@each_case(
    "change",
    [
        {"iss": "https://other.example"},
        {"sub": "mallory"},
        {"aud": "elsewhere"},
        {"exp": NOW + 601},
        {"iat": NOW - 11},
        {"jti": "other"},
        {"jti": None},
        {"groups": ["users", "admins"]},
        {"groups": ["admins"]},
        {"groups": "users"},
        {"act": {"sub": "y"}},
        {"act": {}},
        {"flag": 1},
        {"more": "x"},
    ],
)
async def test_a_claim_that_differs_means_another_token(change):
    body = claims(jti="one", groups=["users"], act={"sub": "x"}, flag=True)
    seen = {name: value for name, value in {**body, **change}.items() if value is not None}
    assert is_same_token(body, _struct(body))
    refusal = await _refusal(_by_envoy(), mint(body), _struct(seen))
    assert refusal.reason is Reason.ENVOY_UNVERIFIED


@each_case(
    ("value", "seen", "same"),
    [
        (MAX_EXACT, float(MAX_EXACT), True),
        (MAX_EXACT + 1, float(MAX_EXACT + 1), False),
        (-MAX_EXACT - 2, float(-MAX_EXACT - 2), False),
        (1, True, False),
        (True, 1.0, False),
        (None, None, True),
        (None, "", False),
        ("1", 1.0, False),
        ([1, [2]], [1.0, [2.0]], True),
        ([1], {"0": 1.0}, False),
        (0.1, 0.1, True),
    ],
)
def test_numbers_compare_as_doubles_but_only_where_doubles_are_exact(value, seen, same):
    assert is_same_token({"c": value}, {"c": seen}) is same


@each_case(
    ("change", "reason"),
    [
        ({"exp": NOW - 100}, Reason.TOKEN_EXPIRED),
        ({"exp": None}, Reason.CLAIM_INVALID),
        ({"nbf": NOW + 100}, Reason.TOKEN_NOT_YET_VALID),
        ({"aud": "elsewhere"}, Reason.AUDIENCE_WRONG),
        ({"sub": ""}, Reason.CLAIM_INVALID),
    ],
)
async def test_everything_but_key_and_signature_is_still_checked(change, reason):
    body = claims(**change)
    assert (await _refusal(_by_envoy(), mint(body), _struct(body))).reason is reason


async def test_header_rules_still_hold():
    for head in (header(alg="none"), header(alg="HS256"), header(typ="logout+jwt"), header(crit=["x"])):
        assert (await _refusal(_by_envoy(), mint(None, head), _struct(claims()))).reason in (
            Reason.ALGORITHM_REFUSED,
            Reason.TOKEN_MALFORMED,
        )


async def test_envoys_word_counts_for_nothing_where_it_was_not_asked_for():
    verifier = make_verifier()
    assert not verifier.reads_jwt_payload
    forged = mint(key=rsa_key("stranger"))
    assert (await _refusal(verifier, forged, _struct(claims()))).reason is Reason.SIGNATURE_INVALID
    assert _by_envoy().reads_jwt_payload


async def test_a_session_lives_on_only_while_envoy_verifies_its_token_again():
    verifier, body = _by_envoy(), claims()
    identity = await verifier.verify(mint(body), jwt_payload=_struct(body))
    assert verifier.still_trusted(identity, _struct(body))
    assert not verifier.still_trusted(identity, None)
    assert not verifier.still_trusted(identity, _struct(claims(sub="other")))
