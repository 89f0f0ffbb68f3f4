"""A separate token for STS: verified by the same rules, of the same issuer and subject."""

import pytest

from extproc.authn.bearer import exchange_tokens
from extproc.errors import Denied, Reason
from extproc.values import RequestHead
from support.tables import each_case
from support.tokens import (
    AUDIENCE,
    NOW,
    FakeClock,
    FakeKeySource,
    claims,
    ec_key,
    header,
    key_set,
    key_store,
    make_verifier,
    mint,
    public_jwk,
    rsa_key,
    trusted_issuer,
)

CLIENT = "client-1"
OTHER = "https://other.example"


def _keys():
    return key_store(
        FakeKeySource(key_set(public_jwk(rsa_key(), kid="rsa-1"), public_jwk(ec_key(), kid="ec-1")))
    )


def _verifier(keys=None, **changes):
    return make_verifier(
        trusted_issuer(
            exchange_header="x-id-token",
            exchange_audiences=frozenset({CLIENT}),
            keys=keys or _keys(),
            **changes,
        ),
        trusted_issuer(issuer=OTHER),
        clock=FakeClock(),
    )


def _id_token(head=None, key=None, **changes):
    return mint(claims(**{"aud": CLIENT, **changes}), head or header(typ="JWT"), key=key)


async def _exchanged(verifier, id_token, access_token=None):
    access_token = access_token or mint()
    identity = await verifier.verify(access_token)
    return await verifier.for_exchange(
        identity, access_token, {} if id_token is None else {"x-id-token": id_token}
    )


async def _reason(verifier, id_token):
    with pytest.raises(Denied) as caught:
        await _exchanged(verifier, id_token)
    assert id_token is None or id_token.split(".")[1] not in str(caught.value)
    return caught.value.reason


async def test_the_other_token_goes_to_sts_and_the_earlier_end_counts():
    for sooner in ({"exp": NOW + 60}, {"exp": NOW + 9999}):
        id_token = _id_token(**sooner)
        identity, token = await _exchanged(_verifier(), id_token)
        assert token == id_token
        assert identity.expires_at == min(NOW + 600, sooner["exp"])
        assert identity.claims["aud"] == AUDIENCE  # policy looks at the token that gives access


async def test_an_issuer_without_a_header_exchanges_its_bearer_token():
    access_token = mint(claims(iss=OTHER))
    verifier = _verifier()
    identity, token = await verifier.for_exchange(await verifier.verify(access_token), access_token, {})
    assert token == access_token
    assert identity.exchange_key_thumbprint is None


async def test_a_token_header_of_another_issuer_is_refused_since_it_would_not_be_verified():
    with pytest.raises(Denied) as denied:
        await _exchanged(_verifier(), "junk", mint(claims(iss=OTHER)))
    assert denied.value.reason is Reason.AUTHORIZATION_MALFORMED


@each_case(
    ("id_token", "reason"),
    [
        (lambda: None, Reason.EXCHANGE_TOKEN_MISSING),
        (lambda: _id_token(sub="mallory"), Reason.EXCHANGE_TOKEN_FOREIGN),
        (lambda: mint(claims(iss=OTHER)), Reason.AUDIENCE_WRONG),
        (lambda: _id_token(aud=AUDIENCE), Reason.AUDIENCE_WRONG),
        (lambda: _id_token(exp=NOW - 100), Reason.TOKEN_EXPIRED),
        (lambda: _id_token(key=rsa_key("stranger")), Reason.SIGNATURE_INVALID),
        (lambda: _id_token(header(alg="HS256")), Reason.ALGORITHM_REFUSED),
        (lambda: _id_token(header(typ="logout+jwt")), Reason.TOKEN_MALFORMED),
        (lambda: "x.qqq", Reason.TOKEN_MALFORMED),
    ],
)
async def test_any_other_token_is_refused(id_token, reason):
    assert await _reason(_verifier(), id_token()) is reason


async def test_a_token_of_another_issuer_is_foreign_even_for_the_same_subject_and_audience():
    verifier = make_verifier(
        trusted_issuer(exchange_header="x-id-token", exchange_audiences=frozenset({AUDIENCE})),
        trusted_issuer(issuer=OTHER, exchange_header="x-other", exchange_audiences=frozenset({AUDIENCE})),
    )
    assert await _reason(verifier, mint(claims(iss=OTHER))) is Reason.EXCHANGE_TOKEN_FOREIGN


async def test_required_scopes_are_asked_of_the_bearer_token_only():
    access_token = mint(claims(scope="mcp"))
    identity, _ = await _exchanged(_verifier(required_scopes=("mcp",)), _id_token(), access_token)
    assert identity.subject == "alice"


async def test_a_session_ends_when_the_key_of_either_token_is_withdrawn():
    source = FakeKeySource(key_set(public_jwk(rsa_key(), kid="rsa-1"), public_jwk(ec_key(), kid="ec-1")))
    keys = key_store(source)
    verifier = _verifier(keys)
    identity, _ = await _exchanged(
        verifier, _id_token(header(alg="ES256", kid="ec-1", typ="JWT"), key=ec_key())
    )
    assert verifier.still_trusted(identity, None)
    source.body = key_set(public_jwk(rsa_key(), kid="rsa-1"))
    await keys.refresh()
    assert not verifier.still_trusted(identity, None)


def _head(*headers):
    return RequestHead(method="GET", path="/", authority="x", headers=headers, has_body=False)


def test_headers_with_tokens_are_read_by_name():
    head = _head(("x-id-token", "a.b.c"), ("x-other", "d"))
    assert exchange_tokens(head, {"x-id-token", "x-absent"}) == {"x-id-token": "a.b.c"}


@each_case("value", ["", "a b", "a,b", "Bearer a.b.c", "ä", "a\nb", "a:b"])
def test_what_is_no_token_is_a_bad_request(value):
    with pytest.raises(Denied) as caught:
        exchange_tokens(_head(("x-id-token", value)), {"x-id-token"})
    assert caught.value.reason is Reason.AUTHORIZATION_MALFORMED


def test_a_header_sent_twice_is_a_bad_request():
    with pytest.raises(Denied):
        exchange_tokens(_head(("x-id-token", "a"), ("x-id-token", "a")), {"x-id-token"})


def test_an_issuer_needs_audiences_for_its_other_token():
    with pytest.raises(ValueError, match="separate token"):
        trusted_issuer(exchange_header="x-id-token")
    with pytest.raises(ValueError, match="separate token"):
        trusted_issuer(exchange_header="x-id-token", exchange_audiences=frozenset({"a"}), keys=None)
