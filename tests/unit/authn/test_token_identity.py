"""Identities that have their claims in the token."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.authn.token import TokenLimits, claims_of, parse
from extproc.authn.token_identity import TokenIdentity
from extproc.values import Identity
from support.tokens import claims, make_verifier, mint, trusted_issuer

_FINITE = st.floats(allow_nan=False, allow_infinity=False)
_LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _FINITE | st.text()
_CLAIMS = st.dictionaries(
    st.text(),
    st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8),
    max_size=8,
)


@given(_CLAIMS)
def test_the_claims_of_a_verified_token_are_those_that_were_checked(members):
    token = mint(members)
    assert claims_of(token) == dict(parse(token, TokenLimits()).claims)


async def test_an_identity_reads_its_claims_from_the_token():
    minted = claims(jti="1", azp="client-1", act={"sub": "agent", "act": {}}, groups=["a", "b"])
    identity = await make_verifier().verify(mint(minted))
    assert isinstance(identity, TokenIdentity)
    assert identity.claims == minted
    assert identity.loaded() == Identity(
        minted["iss"],
        minted["sub"],
        minted["exp"],
        minted,
        identity.key_thumbprint,
        config_digest=identity.config_digest,
    )
    for known in (identity, identity.loaded()):
        assert known.caller[2:] == ("1", "client-1", ("agent", ""))


async def test_claims_stay_in_memory_where_sts_gets_another_token():
    verifier = make_verifier(
        trusted_issuer(exchange_header="x-id-token", exchange_audiences=frozenset({"client"}))
    )
    assert not isinstance(await verifier.verify(mint()), TokenIdentity)


async def test_claims_stay_in_memory_where_each_request_reads_them():
    kept = await make_verifier(keeps_claims=True).verify(mint())
    assert not isinstance(kept, TokenIdentity)
    assert kept == (await make_verifier().verify(mint())).loaded()


async def test_an_identity_does_not_show_or_give_away_its_token():
    token = mint(claims(email="cl41m"))
    identity = await make_verifier().verify(token)
    for shown in (repr(identity), str(identity)):
        assert "cl41m" not in shown
        assert not any(part in shown for part in token.split("."))
    for give_away in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            give_away(identity)


@pytest.mark.parametrize(
    ("changes", "read"),
    [
        ({}, (None, None, ())),
        ({"jti": 7, "azp": 7, "client_id": 7, "act": 7}, (None, None, ())),
        ({"azp": "", "client_id": "b"}, (None, "b", ())),
        ({"azp": "a", "client_id": "b"}, (None, "a", ())),
        (
            {"act": {"sub": "1", "act": {"sub": "2", "act": {"act": {"sub": "4", "act": {"sub": "5"}}}}}},
            (None, None, ("1", "2", "", "4")),
        ),
    ],
)
def test_what_every_request_needs_of_the_claims_is_read_once(changes, read):
    identity = Identity("i", "s", 1.0, changes, b"")
    assert identity.caller == ("i", "s", *read)
