"""The numbered steps from a token to an identity: what each accepts, what it refuses and why."""

import base64
import hashlib
import hmac
import json
import random
import string
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization

from extproc.authn.claims import MAX_TIMESTAMP
from extproc.authn.jwks import SUPPORTED_ALGORITHMS, VerificationKey
from extproc.authn.signature import check_signature
from extproc.authn.token import MAX_TOKEN_BYTES, TokenLimits, check_form, parse
from extproc.errors import Denied, Reason
from support.tables import each_case
from support.tokens import (
    AUDIENCE,
    ISSUER,
    KID,
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
    segment,
    trusted_issuer,
)

MALFORMED = Reason.TOKEN_MALFORMED


async def _refusal(token, verifier=None):
    with pytest.raises(Denied) as caught:
        await (verifier or make_verifier()).verify(token)
    return caught.value


def _token_of_length(length):
    """A valid token of exactly this many bytes."""
    for junk in range(4):  # base64 has no segment of 4n + 1; shifting the header changes the remainder
        head = header(x="y" * junk)
        low, high = 0, length
        while low <= high:
            middle = (low + high) // 2
            token = mint(claims(padding="p" * middle), head)
            if len(token) == length:
                return token
            if len(token) < length:
                low = middle + 1
            else:
                high = middle - 1
    raise AssertionError("no such length")


# The way through.


async def test_a_good_token_becomes_an_identity():
    identity = await make_verifier().verify(mint(claims(groups=["admins"])))
    public = (
        rsa_key()
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert (identity.issuer, identity.subject, identity.expires_at) == (ISSUER, "alice", NOW + 600)
    assert identity.claims == claims(groups=["admins"])
    assert identity.key_thumbprint == hashlib.sha256(public).digest()


@each_case("alg", sorted(SUPPORTED_ALGORITHMS))
async def test_every_supported_algorithm_verifies_with_its_own_kind_of_key(alg):
    curves = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
    key = ec_key(curves[alg]) if alg in curves else rsa_key()
    keys = key_store(FakeKeySource(key_set(public_jwk(key, kid=KID))))
    verifier = make_verifier(trusted_issuer(algorithms=SUPPORTED_ALGORITHMS, keys=keys))
    assert (await verifier.verify(mint(None, header(alg=alg), key=key, alg=alg))).subject == "alice"


# 1. Format.


@pytest.mark.parametrize(
    "mangle",
    [
        pytest.param(lambda token: "", id="empty"),
        pytest.param(lambda token: "..", id="dots only"),
        pytest.param(lambda token: token.rpartition(".")[0], id="two segments"),
        pytest.param(lambda token: token.rpartition(".")[0] + ".", id="empty signature"),
        pytest.param(lambda token: token + ".", id="an empty fourth segment"),
        pytest.param(lambda token: token + ".e30", id="four segments"),
        pytest.param(lambda token: token + ".e30.e30", id="five segments, as of a JWE"),
        pytest.param(lambda token: "." + token, id="empty header"),
        pytest.param(lambda token: token + "=", id="padding after the signature"),
        pytest.param(lambda token: token + "==", id="right padding after the signature"),
        pytest.param(lambda token: token.replace(".", "=.", 1), id="padding after the header"),
        pytest.param(lambda token: token.replace(".", "==.", 1), id="more padding after the header"),
        pytest.param(lambda token: token + "\n", id="line feed"),
        pytest.param(lambda token: token + " ", id="space"),
        pytest.param(lambda token: " " + token, id="space before"),
        pytest.param(lambda token: token + "\x00", id="NUL"),
        pytest.param(lambda token: token[:-1] + "+", id="plus"),
        pytest.param(lambda token: token[:-1] + "/", id="slash"),
        pytest.param(lambda token: token[:-1] + "é", id="not ASCII"),
        pytest.param(lambda token: token[:-1] + "\uff21", id="a full-width letter"),
        pytest.param(lambda token: token[:-1] + "\u0661", id="an Arabic digit"),
        pytest.param(lambda token: token[:-1] + "\ud800", id="a lone surrogate"),
        pytest.param(lambda token: token.replace(".", "A.", 1) + "AAA", id="impossible length"),
        pytest.param(lambda token: json.dumps({"payload": "e30", "signatures": []}), id="JSON form"),
    ],
)
async def test_1_only_the_compact_form_is_a_token(mangle):
    assert (await _refusal(mangle(mint()))).reason is MALFORMED


async def test_1_a_token_has_at_most_as_many_bytes_as_sts_takes():
    longest = _token_of_length(MAX_TOKEN_BYTES)
    assert await make_verifier().verify(longest)
    assert (await _refusal(_token_of_length(MAX_TOKEN_BYTES + 1))).reason is MALFORMED
    assert (await _refusal("A" * 5_000_000)).reason is MALFORMED


async def test_1_a_signature_has_one_spelling_only():
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    token = mint()
    raw = base64.urlsafe_b64decode(token.rpartition(".")[2] + "==")
    twins = [
        twin
        for char in alphabet
        if base64.urlsafe_b64decode((twin := token[:-1] + char).rpartition(".")[2] + "==") == raw
    ]
    assert len(twins) == 16  # 256 bytes leave four unused bits
    for twin in set(twins) - {token}:
        refusal = await _refusal(twin)
        assert (refusal.reason, refusal.detail) == (MALFORMED, "not canonical base64url")


# 1 (the JSON in it) and 3. Header.


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not json", id="not JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"RS256"', id="a text"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"alg":"RS256","typ":"at+jwt","kid":"rsa-1","kid":"rsa-1"}', id="duplicate member"),
        pytest.param(b'{"alg":"none","alg":"RS256","typ":"at+jwt","kid":"rsa-1"}', id="two algorithms"),
        pytest.param(b'{"alg":"RS256","kid":"rsa-1","x":{"y":1,"y":1}}', id="duplicate member below"),
        pytest.param(b'{"alg":"RS256","kid":"rsa-1","x":"\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"alg":"RS256","kid":"rsa-1","x":NaN}', id="NaN"),
        pytest.param(b'{"alg":"RS256","kid":"rsa-1","x":"\xff"}', id="not UTF-8"),
        pytest.param(b'{"alg":"RS256","kid":"rsa-1","x":' + b"[" * 5000 + b"]" * 5000 + b"}", id="deep"),
    ],
)
async def test_1_the_header_is_one_unambiguous_object(raw):
    assert (await _refusal(mint(None, raw))).reason is MALFORMED


@each_case(
    "alg", [None, "none", "None", "NONE", "", "HS256", "rs256", "Rs256", "RS256 ", "PS256", "RS384", "EdDSA",
            "ES256K", 1, True, ["RS256"], {"RS256": 1}]
)  # fmt: skip
async def test_3_only_the_issuers_algorithms_in_their_exact_spelling_are_allowed(alg):
    head = header(alg=alg)
    assert (await _refusal(mint(None, head))).reason is Reason.ALGORITHM_REFUSED
    null = json.dumps({**head, "alg": None}).encode()
    assert (await _refusal(mint(None, null))).reason is Reason.ALGORITHM_REFUSED


async def test_3_an_unsigned_token_is_refused_however_it_is_written():
    for alg in ("none", "RS256"):
        body = f"{segment(header(alg=alg))}.{segment(claims())}"
        for signature in (".", ".e30"):
            assert (await _refusal(body + signature)).reason in (
                MALFORMED,
                Reason.ALGORITHM_REFUSED,
                Reason.SIGNATURE_INVALID,
            )


@each_case("encoding", ["PEM", "DER", "JWK", "n"])
async def test_3_a_public_key_is_never_an_hmac_secret(encoding):
    public = rsa_key().public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    secrets = {
        "PEM": public.public_bytes(serialization.Encoding.PEM, spki),
        "DER": public.public_bytes(serialization.Encoding.DER, spki),
        "JWK": json.dumps(public_jwk(rsa_key(), kid=KID)).encode(),
        "n": public.public_numbers().n.to_bytes(256, "big"),
    }
    for alg in ("HS256", "RS256"):
        signing_input = f"{segment(header(alg=alg))}.{segment(claims())}"
        mac = hmac.digest(secrets[encoding], signing_input.encode(), "sha256")
        refusal = await _refusal(f"{signing_input}.{segment(mac)}")
        assert refusal.reason is (Reason.ALGORITHM_REFUSED if alg == "HS256" else Reason.SIGNATURE_INVALID)


@each_case("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt", None])
async def test_3_expected_types_are_accepted_in_any_case(typ):
    assert await make_verifier().verify(mint(None, header(typ=typ)))


@each_case(
    "typ", ["logout+jwt", "dpop+jwt", "secevent+jwt", "id+jwt", "JOSE", " JWT", "at+jwt ", "application/jwt",
            1, True, ["JWT"], {}]
)  # fmt: skip
async def test_3_tokens_of_another_type_are_refused(typ):
    assert (await _refusal(mint(None, header(typ=typ)))).reason is MALFORMED


async def test_3_a_null_type_is_not_an_absent_one():
    assert (await _refusal(mint(None, {**header(), "typ": None}))).reason is MALFORMED


async def test_3_an_issuer_can_insist_on_access_tokens():
    verifier = make_verifier(trusted_issuer(token_types=frozenset({"at+jwt"})))
    assert await verifier.verify(mint(None, header(typ="at+jwt")))
    for typ in ("JWT", None):
        assert (await _refusal(mint(None, header(typ=typ)), verifier)).reason is MALFORMED


@each_case(
    "member", [{"crit": []}, {"crit": ["exp"]}, {"crit": ["b64"], "b64": True}, {"b64": False}, {"b64": True},
               {"crit": "b64"}]
)  # fmt: skip
async def test_3_critical_extensions_are_refused(member):
    assert (await _refusal(mint(None, header(**member)))).reason is MALFORMED


@each_case("kid", [1, True, ["rsa-1"], {"kid": "rsa-1"}, "k" * 513, None])
async def test_3_a_kid_is_a_short_text(kid):
    assert (await _refusal(mint(None, {**header(), "kid": kid}))).reason is MALFORMED


async def test_3_keys_that_a_token_brings_along_are_ignored():
    stranger = rsa_key("stranger")
    head = header(jwk=public_jwk(stranger), jku="https://evil.example/jwks", x5u="https://evil.example/x5u")
    assert (await _refusal(mint(None, head, key=stranger))).reason is Reason.SIGNATURE_INVALID
    assert await make_verifier().verify(mint(None, head))


# 2. Issuer, and 1. claims.


@each_case(
    "iss",
    [None, "", "https://evil.example", f"{ISSUER}/", ISSUER.upper(), f" {ISSUER}", f"{ISSUER}:443",
     "http://idp.example", f"{ISSUER}\x00", 1, True, [ISSUER], {ISSUER: 1}],
)  # fmt: skip
async def test_2_the_issuer_matches_exactly(iss):
    assert (await _refusal(mint(claims(iss=iss)))).reason is Reason.ISSUER_UNKNOWN


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"not json", id="not JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(json.dumps(claims()).encode()[:-1] + b', "sub": "root"}', id="two subjects"),
        pytest.param(json.dumps(claims()).encode()[:-1] + b', "\\u0069ss": "x"}', id="two issuers by escape"),
        pytest.param(json.dumps(claims()).encode()[:-1] + b', "a": {"b": 1, "b": 2}}', id="duplicate below"),
        pytest.param(json.dumps(claims()).encode()[:-1] + b', "a": "\\udfff"}', id="lone surrogate"),
        pytest.param(json.dumps(claims()).encode()[:-1] + b', "a": Infinity}', id="Infinity"),
        pytest.param(json.dumps(claims()).encode()[:-1] + b', "a": 1e999}', id="number that overflows"),
        pytest.param(
            json.dumps(claims()).encode()[:-1] + b', "a": ' + b"[" * 33 + b"]" * 33 + b"}", id="deep"
        ),
        pytest.param(b"\xef\xbb\xbf" + json.dumps(claims()).encode(), id="byte order mark"),
        pytest.param(json.dumps(claims()).encode("utf-16"), id="UTF-16"),
    ],
)
async def test_1_the_claims_are_one_unambiguous_object(raw):
    assert (await _refusal(mint(raw))).reason is MALFORMED


# 4. Key.


@each_case("kid", ["", "rsa-2", "RSA-1", "../rsa-1", "' OR 1=1 --", "k" * 512])
async def test_4_a_key_is_found_by_its_exact_name(kid):
    assert (await _refusal(mint(None, header(kid=kid)))).reason is Reason.KEY_UNKNOWN


async def test_4_without_a_kid_the_only_fitting_key_is_used():
    assert await make_verifier().verify(mint(None, header(kid=None)))
    two = key_set(public_jwk(rsa_key(), kid="a"), public_jwk(rsa_key("second"), kid="b"))
    verifier = make_verifier(trusted_issuer(keys=key_store(FakeKeySource(two))))
    assert (await _refusal(mint(None, header(kid=None)), verifier)).reason is Reason.KEY_UNKNOWN


async def test_4_a_key_verifies_algorithms_of_its_own_type_only():
    both = key_set(public_jwk(rsa_key(), kid="rsa"), public_jwk(ec_key(), kid="ec"))
    verifier = make_verifier(trusted_issuer(keys=key_store(FakeKeySource(both))))
    assert await verifier.verify(mint(None, header(kid="rsa")))
    assert await verifier.verify(mint(None, header(kid="ec", alg="ES256"), key=ec_key()))
    for kid, alg, key in (("rsa", "ES256", ec_key()), ("ec", "RS256", rsa_key())):
        refusal = await _refusal(mint(None, header(kid=kid, alg=alg), key=key), verifier)
        assert refusal.reason is Reason.KEY_UNKNOWN


async def test_4_a_keys_declared_algorithm_binds_it():
    keys = key_store(FakeKeySource(key_set(public_jwk(rsa_key(), kid=KID, alg="RS512"))))
    verifier = make_verifier(trusted_issuer(algorithms=SUPPORTED_ALGORITHMS, keys=keys))
    assert await verifier.verify(mint(None, header(alg="RS512"), alg="RS512"))
    assert (await _refusal(mint(None, header(alg="RS256")), verifier)).reason is Reason.KEY_UNKNOWN


async def test_4_keys_belong_to_their_issuer():
    other = "https://other.example"
    other_keys = key_set(public_jwk(rsa_key("other"), kid="other"), public_jwk(rsa_key("third"), kid=KID))
    verifier = make_verifier(
        trusted_issuer(),
        trusted_issuer(issuer=other, keys=key_store(FakeKeySource(other_keys), issuer=other)),
    )
    assert (
        await verifier.verify(mint(claims(iss=other), header(kid="other"), key=rsa_key("other")))
    ).issuer == other
    # The other issuer's key speaks for this one: by its own name, under the same name.
    by_name = mint(None, header(kid="other"), key=rsa_key("other"))
    assert (await _refusal(by_name, verifier)).reason is Reason.KEY_UNKNOWN
    same_name = mint(None, header(kid=KID), key=rsa_key("third"))
    assert (await _refusal(same_name, verifier)).reason is Reason.SIGNATURE_INVALID


async def test_4_without_keys_a_token_is_neither_accepted_nor_called_invalid():
    verifier = make_verifier(trusted_issuer(keys=key_store(FakeKeySource(None))))
    assert (await _refusal(mint(), verifier)).reason is Reason.KEYS_UNAVAILABLE


async def test_4_no_key_is_looked_for_on_behalf_of_an_unknown_issuer_or_a_refused_header():
    source = FakeKeySource(key_set(public_jwk(rsa_key(), kid=KID)))
    verifier = make_verifier(trusted_issuer(keys=key_store(source)))
    for token in (
        mint(claims(iss="https://evil.example")),
        mint(None, header(alg="none")),
        mint(None, header(typ="logout+jwt")),
        mint(None, header(kid=7)),
        mint() + "=",
    ):
        await _refusal(token, verifier)
    assert source.fetches == 0


# 5. Signature.


async def test_5_a_signature_by_another_key_is_invalid():
    assert (await _refusal(mint(key=rsa_key("stranger")))).reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("part", [0, 1])
async def test_5_header_and_claims_are_what_was_signed(part):
    parts, others = mint().split("."), mint(claims(sub="root"), header(x=1)).split(".")
    parts[part] = others[part]
    assert (await _refusal(".".join(parts))).reason is Reason.SIGNATURE_INVALID


@each_case("signature", [b"\x00", b"\x00" * 64, b"\x00" * 256, b"\xff" * 256, b"\x00" * 255, b"\x00" * 257])
@each_case("alg", ["RS256", "ES256"])
async def test_5_trivial_signatures_are_invalid(alg, signature):
    keys = key_set(public_jwk(rsa_key(), kid="RS256"), public_jwk(ec_key(), kid="ES256"))
    verifier = make_verifier(trusted_issuer(keys=key_store(FakeKeySource(keys))))
    token = f"{segment(header(alg=alg, kid=alg))}.{segment(claims())}.{segment(signature)}"
    assert (await _refusal(token, verifier)).reason is Reason.SIGNATURE_INVALID


async def test_5_the_signature_is_checked_before_what_the_claims_say():
    forged = mint(claims(exp=NOW - 9999, aud="elsewhere", sub=""), key=rsa_key("stranger"))
    assert (await _refusal(forged)).reason is Reason.SIGNATURE_INVALID


# 6. Times. The leeway is 30 seconds.


@each_case(
    ("changes", "reason"),
    [
        ({"exp": NOW - 29}, None),
        ({"exp": NOW - 30}, Reason.TOKEN_EXPIRED),
        ({"exp": 0}, Reason.TOKEN_EXPIRED),
        ({"exp": MAX_TIMESTAMP}, None),
        ({"nbf": NOW + 30}, None),
        ({"nbf": NOW + 31}, Reason.TOKEN_NOT_YET_VALID),
        ({"iat": NOW + 30}, None),
        ({"iat": NOW + 31}, Reason.TOKEN_NOT_YET_VALID),
        ({"iat": None}, None),
        ({"iat": 0, "nbf": 0}, None),
        ({"nbf": MAX_TIMESTAMP}, Reason.TOKEN_NOT_YET_VALID),
    ],
)
async def test_6_times_hold_to_the_second_with_the_leeway(changes, reason):
    token = mint(claims(**changes))
    if reason is None:
        assert await make_verifier().verify(token)
    else:
        assert (await _refusal(token)).reason is reason


@each_case("name", ["exp", "nbf", "iat"])
@each_case(
    "value",
    ["null", "true", "false", f"{NOW}.0", f"{NOW}.5", "1.79e9", f'"{NOW}"', '""', "-1", "[]", "{}",
     f"[{NOW}]", str(MAX_TIMESTAMP + 1), "9" * 400, "1e300"],
)  # fmt: skip
async def test_6_times_are_integers_within_reason(name, value):
    raw = json.dumps(claims(**{name: None})).encode()[:-1] + f', "{name}": {value}}}'.encode()
    assert (await _refusal(mint(raw))).reason is Reason.CLAIM_INVALID


async def test_6_a_token_that_never_expires_is_refused():
    assert (await _refusal(mint(claims(exp=None)))).reason is Reason.CLAIM_INVALID


async def test_6_an_accepted_token_expires_as_the_clock_moves_on():
    clock = FakeClock()
    verifier, token = make_verifier(clock=clock), mint()
    clock.advance(629)
    assert (await verifier.verify(token)).expires_at == NOW + 600  # the leeway does not prolong the identity
    clock.advance(1)
    assert (await _refusal(token, verifier)).reason is Reason.TOKEN_EXPIRED


async def test_6_without_leeway_times_hold_exactly():
    verifier = make_verifier(trusted_issuer(leeway=0))
    assert await verifier.verify(mint(claims(exp=NOW + 1, nbf=NOW, iat=NOW)))
    for changes in ({"exp": NOW}, {"nbf": NOW + 1}, {"iat": NOW + 1}):
        await _refusal(mint(claims(**changes)), verifier)


# 7. Audience.


@each_case("aud", [AUDIENCE, [AUDIENCE], ["elsewhere", AUDIENCE], [AUDIENCE, AUDIENCE]])
async def test_7_one_of_the_audiences_is_enough(aud):
    assert await make_verifier().verify(mint(claims(aud=aud)))


@each_case(
    "aud",
    [None, "", [], "elsewhere", ["elsewhere"], f"{AUDIENCE}/", AUDIENCE.upper(), f"{AUDIENCE} elsewhere",
     f"{AUDIENCE},elsewhere", AUDIENCE[:-1], [AUDIENCE, 1], [[AUDIENCE]], [AUDIENCE, None], [{}], {AUDIENCE: 1},
     {"aud": AUDIENCE}, 1, True, 1.5],
)  # fmt: skip
async def test_7_any_other_audience_is_wrong(aud):
    assert (await _refusal(mint(claims(aud=aud)))).reason is Reason.AUDIENCE_WRONG


async def test_7_and_8_a_claim_that_sts_would_not_take_either_is_the_providers_to_correct():
    assert "STS refuses too" in (await _refusal(mint(claims(aud=[])))).detail
    assert "the provider has to be corrected" in (await _refusal(mint(claims(sub=12345)))).detail


async def test_7_another_issuers_audience_does_not_count():
    verifier = make_verifier(
        trusted_issuer(), trusted_issuer(issuer="https://other.example", audiences=frozenset({"theirs"}))
    )
    assert (await _refusal(mint(claims(aud="theirs")), verifier)).reason is Reason.AUDIENCE_WRONG


# 8. Subject.


@each_case("sub", ["a", "auth0|123", "Ünïcode", "s" * 255])
async def test_8_a_subject_is_a_text(sub):
    assert (await make_verifier().verify(mint(claims(sub=sub)))).subject == sub


@each_case("sub", [None, "", 1, 0, True, 1.5, ["alice"], {"a": 1}, "s" * 256])
async def test_8_anything_else_is_no_subject(sub):
    assert (await _refusal(mint(claims(sub=sub)))).reason is Reason.CLAIM_INVALID


@pytest.mark.parametrize("odd", [{"email": "a\0b"}, {"groups": ["admin\0"]}, {"x": {"y\0": 1}}])
async def test_8_a_token_with_u_0000_in_any_string_is_refused(odd):
    assert (await _refusal(mint(claims(**odd)))).reason is Reason.CLAIMS_INVALID


# Afterwards.


async def test_an_identity_is_trusted_while_its_very_key_is_published():
    clock = FakeClock()
    source = FakeKeySource(key_set(public_jwk(rsa_key(), kid=KID)))
    keys = key_store(source, clock=clock, max_staleness=1000)
    verifier = make_verifier(trusted_issuer(keys=keys), clock=clock)
    identity = await verifier.verify(mint())
    assert verifier.still_trusted(identity, None)

    source.body = key_set(public_jwk(rsa_key(), kid="renamed"))
    await keys.refresh()
    assert verifier.still_trusted(identity, None)

    source.body = key_set(public_jwk(rsa_key("second"), kid=KID))
    await keys.refresh()
    assert not verifier.still_trusted(identity, None)


async def test_an_identity_is_not_trusted_on_the_word_of_stale_keys_or_of_an_unknown_issuer():
    clock = FakeClock()
    verifier = make_verifier(trusted_issuer(keys=key_store(clock=clock, max_staleness=1000)), clock=clock)
    identity = await verifier.verify(mint())
    assert not make_verifier(trusted_issuer(issuer="https://other.example")).still_trusted(identity, None)
    clock.advance(1001)
    assert not verifier.still_trusted(identity, None)


# What can be configured at all.


@each_case(
    "changes",
    [{"issuer": ""}, {"audiences": frozenset()}, {"algorithms": frozenset()}, {"token_types": frozenset()},
     {"algorithms": frozenset({"none"})}, {"algorithms": frozenset({"RS256", "HS256"})},
     {"algorithms": frozenset({"rs256"})}, {"algorithms": frozenset({"PS256"})}],
)  # fmt: skip
def test_an_issuer_cannot_be_trusted_for_anything_whatever(changes):
    keys = key_store()
    with pytest.raises(ValueError):
        trusted_issuer(**{"keys": keys, **changes})


def test_a_verifier_trusts_at_least_one_issuer_and_each_once():
    with pytest.raises(ValueError):
        make_verifier(trusted_issuer(), trusted_issuer(audiences=frozenset({"another"})))
    with pytest.raises(ValueError):
        type(make_verifier())(issuers=[], clock=FakeClock())


def test_the_supported_algorithms_are_those_of_sts():
    assert {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"} == SUPPORTED_ALGORITHMS


# Robustness.


async def test_no_mutation_of_a_token_is_accepted():
    seeded = random.Random(20_260_101)
    alphabet = string.ascii_letters + string.digits + "-_.=+/ \x00é"
    both = key_set(public_jwk(rsa_key(), kid="rsa"), public_jwk(ec_key(), kid="ec"))
    verifier = make_verifier(trusted_issuer(keys=key_store(FakeKeySource(both))))
    for token in (
        mint(None, header(kid="rsa")),
        mint(None, header(kid="ec", alg="ES256"), key=ec_key()),
    ):
        assert await verifier.verify(token)
        mutants = set()
        for _ in range(1500):
            at = seeded.randrange(len(token))
            mutants.add(token[:at] + seeded.choice(alphabet) + token[at + 1 :])  # replaced
            mutants.add(
                token[:at] + chr(ord(token[at]) ^ 1 << seeded.randrange(8)) + token[at + 1 :]
            )  # a bit
            mutants.add(token[:at] + token[at + 1 :])  # left out
            mutants.add(token[:at] + seeded.choice(alphabet) + token[at:])  # put in
        mutants |= {token[:-1] + char for char in alphabet}
        for mutant in sorted(mutants - {token}):
            await _refusal(mutant, verifier)


async def test_no_mutation_of_the_decoded_parts_is_accepted():
    seeded = random.Random(20_260_102)
    verifier, token = make_verifier(), mint()
    parts = [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]
    for _ in range(2000):
        which = seeded.randrange(3)
        mutant = bytearray(parts[which])
        mutant[seeded.randrange(len(mutant))] ^= 1 << seeded.randrange(8)
        await _refusal(
            ".".join(segment(bytes(mutant) if n == which else parts[n]) for n in range(3)), verifier
        )


@each_case(
    ("body", "head"),
    [
        (claims(iss="s3cret-claim"), header()),
        (claims(aud="s3cret-claim"), header()),
        (claims(aud=["s3cret-claim", 1]), header()),
        (claims(sub=["s3cret-claim"]), header()),
        (claims(sub="s3cret-claim" * 30), header()),
        (claims(exp="s3cret-claim"), header()),
        (claims(nbf="s3cret-claim"), header()),
        (claims(email="s3cret-claim", exp=NOW - 500), header()),
        (claims(), header(alg="s3cret-claim")),
        (claims(), header(typ="s3cret-claim")),
        (claims(), header(kid="s3cret-claim")),
        (claims(), header(crit=["s3cret-claim"])),
        (b'{"s3cret-claim": s3cret-claim', header()),
        (b'{"s3cret-claim": 1, "s3cret-claim": 1}', header()),
        (claims(), b'{"s3cret-claim": 1, "s3cret-claim": 1}'),
        (claims(a="s3cret-claim"), header(x="tampered")),
    ],
)
async def test_a_refusal_holds_neither_the_token_nor_what_it_says(body, head):
    token = mint(body, head)
    if isinstance(head, dict) and "x" in head:
        token = token[:-8] + "AAAAAAAA"
    refusal = await _refusal(token)
    for text in (refusal.detail, str(refusal), repr(refusal)):
        assert "s3cret-claim" not in text
        assert not any(part in text for part in token.split("."))
    assert refusal.__cause__ is None
    assert refusal.__suppress_context__ or refusal.__context__ is None


async def test_an_identity_shows_no_claims():
    identity = await make_verifier().verify(mint(claims(email="s3cret-claim")))
    assert "s3cret-claim" not in repr(identity)


async def test_an_identity_of_another_configuration_of_its_issuer_is_not_trusted():
    verifier = make_verifier()
    identity = (await verifier.verify(mint())).loaded()
    for known, trusted in ((identity, True), (replace(identity, config_digest=b"other"), False)):
        assert verifier.still_trusted(known, None) is trusted


def test_whatever_the_primitive_raises_is_an_invalid_signature():
    key = VerificationKey(KID, frozenset({"RS256"}), ec_key().public_key(), b"")
    with pytest.raises(Denied) as denied:
        check_signature(parse(mint(), TokenLimits()), key, "RS256")
    assert denied.value.reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("size", [0, -1, MAX_TOKEN_BYTES + 1])
def test_a_limit_only_narrows_what_sts_takes(size):
    with pytest.raises(ValueError, match="a token has 1 to"):
        TokenLimits(size=size)
    assert TokenLimits(size=1).size == 1


def test_of_claims_that_are_taken_as_verified_only_what_is_there_is_checked():
    """For explanations."""
    one = make_verifier(trusted_issuer(required_scopes=("mcp",)))
    with pytest.raises(Denied) as denied:
        one.assume({}, expires_at=NOW)
    assert denied.value.reason is Reason.SCOPE_MISSING  # of the only issuer
    several = make_verifier(
        trusted_issuer(), trusted_issuer(issuer="https://other.example/", required_scopes=("mcp",))
    )
    identity = several.assume({"groups": ["a"]}, expires_at=NOW)
    assert (identity.issuer, identity.subject, identity.expires_at) == ("", "", NOW)
    named = several.assume({"iss": ISSUER, "sub": "alice"}, expires_at=NOW)
    assert (named.issuer, named.subject) == (ISSUER, "alice")


@pytest.mark.parametrize("part", [0, 1])
async def test_each_part_of_a_token_is_one_json_object_within_the_limits(part):
    deep, many = "x", {f"c{n}": n for n in range(20)}
    for _ in range(10):
        deep = [deep]
    limits = TokenLimits(nesting=8, values=15)
    for extra in ({"deep": deep}, many):
        parts = [header(), claims()]
        parts[part] = {**parts[part], **extra}
        token = mint(parts[1], parts[0])
        parse(token, TokenLimits(nesting=32, values=100))
        if part == 0 and extra is many:
            continue  # the head is bounded by the token's size
        with pytest.raises(Denied) as denied:
            parse(token, limits)
        assert denied.value.reason is MALFORMED


@each_case(
    "token", ["a.b", "a", ".", "a.b.c.d", "..", "a.b.c=", "abcde.e30.e30", "e30.abcde.e30", "e30.e30.abcde"]
)
def test_what_has_not_three_parts_in_base64url_is_malformed(token):
    with pytest.raises(Denied) as denied:
        parse(token, TokenLimits())
    assert denied.value.reason is MALFORMED
    assert denied.value.detail


@pytest.mark.parametrize(
    ("limits", "wrong"),
    [(TokenLimits(nesting=3), "deep"), (TokenLimits(values=3), "many"), (TokenLimits(), None)],
    ids=["nesting", "values", "neither"],
)
def test_claims_that_came_in_no_token_have_its_limits(limits, wrong):
    body = {"a": [[[1]]], "b": [1, 2, 3]}
    if wrong is None:
        check_form(body, limits)
        return
    with pytest.raises(Denied) as denied:
        check_form(body, limits)
    assert denied.value.reason is MALFORMED
    assert denied.value.detail
