"""``extproc explain --token``: every step with its verdict; no forged token is ever allowed."""

import base64
import hashlib
import hmac
import json
import time

import pytest
import yaml
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from extproc.authn.jwks import parse_key_set
from extproc.authn.signature import check_signature
from extproc.authn.token import TokenLimits, parse
from extproc.authn.verifier import Step
from extproc.cli import main
from extproc.errors import Denied
from support.tokens import (
    AUDIENCE,
    ISSUER,
    claims,
    ec_key,
    header,
    key_set,
    mint,
    public_jwk,
    rsa_key,
    segment,
)

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _fresh(**changes):
    now = int(time.time())
    return claims(**{"iat": now - 5, "exp": now + 600, "groups": ["admins"], **changes})


@pytest.fixture
def run(tmp_path):
    """Run ``explain`` with a key set on disk; returns exit code and output."""
    (tmp_path / "jwks.json").write_bytes(
        key_set(public_jwk(rsa_key(), kid="rsa-1"), public_jwk(ec_key(), kid="ec-1"))
    )
    issuer = {"issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(tmp_path / "jwks.json")}
    settings = {
        "resource": {"url": AUDIENCE},
        "issuers": [{**issuer, "required_scopes": []}],
        "targets": [{"name": "t", "host": "aws-mcp.us-east-1.api.aws"}],
        "role_mappings": [
            {"name": "ops", "claim": "ops", "role_arn": "arn:aws:iam::123456789012:role/Ops", "priority": 1},
            {"name": "admins", "claim": "admins", "role_arn": "arn:aws:iam::123456789012:role/Admin"},
        ],
    }
    (tmp_path / "extproc.yaml").write_text(yaml.safe_dump(settings))

    def explain(content, *options, what="--token"):
        source = tmp_path / "input"
        source.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
        arguments = ["explain", "--config", str(tmp_path / "extproc.yaml"), what, str(source), *options]
        result = CliRunner().invoke(main, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    return explain


def test_a_good_token_passes_every_step_and_gets_its_role(run):
    code, output = run(mint(_fresh()) + "\n")
    assert code == 0
    names = ", ".join(step.name.lower() for step in Step)
    assert f"passed: {names}" in " ".join(output.split())
    assert "mapping ops: no match" in output
    assert "mapping admins: MATCHES" in output
    assert output.splitlines()[-3:] == [
        "allowed: arn:aws:iam::123456789012:role/Admin",
        "  mapping   admins",
        "  session   alice, 3600 s",
    ]


def test_a_failing_step_has_its_reason_and_later_ones_are_not_reached(run):
    code, output = run(mint(_fresh(exp=1)))
    assert code == 1
    assert "passed: format, issuer, header, key, signature\n" in output
    assert "FAIL: times\n" in output
    assert "not tried: audience, subject, claims, scopes\n" in output
    assert output.splitlines()[-1].startswith("denied: token_expired (401): expired ")
    assert output.count("token_expired") == 1


def test_the_json_form_follows_the_contract(run):
    code, output = run(mint(_fresh()), "--json")
    document = json.loads(output)
    assert code == 0
    contract = {
        "outcome": "allow",
        "reason": None,
        "mapping": "admins",
        "role_arn": "arn:aws:iam::123456789012:role/Admin",
        "session_name": "alice",
        "session_duration": 3600,
        "policy_arns": [],
        "policy": None,
    }
    assert {name: document[name] for name in contract} == contract
    evaluated = [
        {name: entry[name] for name in ("name", "priority", "matched", "error")}
        for entry in document["evaluated"]
    ]
    assert evaluated == [
        {"name": "ops", "priority": 1, "matched": False, "error": None},
        {"name": "admins", "priority": None, "matched": True, "error": None},
    ]
    steps = [(entry["step"], entry["passed"]) for entry in document["verification"]]
    assert steps == [(n, True) for n in range(1, 11)]


def test_claims_are_taken_as_verified(run):
    code, output = run(json.dumps({"sub": "bob", "groups": ["admins"]}), "--json", what="--claims")
    document = json.loads(output)
    assert (code, document["session_name"], "verification" in document) == (0, "bob", False)
    code, output = run(json.dumps({"sub": "bob", "groups": []}), "--json", what="--claims")
    assert (code, json.loads(output)["reason"]) == (1, "no_role")


@pytest.mark.parametrize("content", ["", " \n", "x" * 2**20 + "x"])
def test_what_is_no_token_file_is_bad_input(run, content):
    assert run(content)[0] == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a":1,"a":2}', "null", "\ufeff{}"])
def test_what_are_no_claims_is_bad_input(run, content):
    assert run(content, what="--claims")[0] == 2


def test_exactly_one_input_is_wanted(run, tmp_path):
    config = ["explain", "--config", str(tmp_path / "extproc.yaml")]
    assert CliRunner().invoke(main, config).exit_code == 2
    both = [*config, "--token", "a", "--claims", "b"]
    assert CliRunner().invoke(main, both).exit_code == 2
    assert CliRunner().invoke(main, [*config, "--token", str(tmp_path / "absent")]).exit_code == 2


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_part_of_the_token_is_printed(run, options):
    for token in (
        mint(_fresh()),
        mint(_fresh(exp=1)),
        mint(_fresh(), key=rsa_key("stranger")),
        "s3cret.s3cret",
    ):
        _, output = run(token, *options)
        assert not any(part in output for part in token.split("."))


# RFC 7515, appendix A: the exact examples.

_PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
A2_KEY = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL"
    "-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB"
    "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj"
    "8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
A2 = (
    f"eyJhbGciOiJSUzI1NiJ9.{_PAYLOAD}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm"
    "4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNP"
    "vkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO"
    "YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
A3_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
A3 = (
    f"eyJhbGciOiJFUzI1NiJ9.{_PAYLOAD}"
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)


@pytest.mark.parametrize(("token", "key", "alg"), [(A2, A2_KEY, "RS256"), (A3, A3_KEY, "ES256")])
def test_the_examples_of_rfc_7515_verify_and_only_they(token, key, alg):
    (admitted,) = parse_key_set(key_set(key)).keys
    check_signature(parse(token, TokenLimits()), admitted, alg)
    head, payload, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    for position in range(len(raw)):
        raw[position] ^= 1
        with pytest.raises(Denied):
            check_signature(parse(f"{head}.{payload}.{segment(bytes(raw))}", TokenLimits()), admitted, alg)
        raw[position] ^= 1


def test_the_unsigned_and_the_hmac_example_of_rfc_7515_are_refused(run):
    unsigned = f"eyJhbGciOiJub25lIn0.{_PAYLOAD}."
    mac = f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{_PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    for token in (unsigned, mac, A2, A3):
        assert run(token)[0] == 1


# Forgeries, by what they try.


def _input(head):
    return f"{segment(head)}.{segment(_fresh())}"


def _with(head, signature):
    return f"{_input(head)}.{segment(signature)}"


def _ints(r, s):
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _hmac_with(secret):
    signing_input = _input(header(alg="HS256"))
    return f"{signing_input}.{segment(hmac.digest(secret, signing_input.encode(), 'sha256'))}"


def _rsa_signed(pad, digest):
    signing_input = _input(header())
    return f"{signing_input}.{segment(rsa_key().sign(signing_input.encode(), pad, digest))}"


def _es_der():
    signing_input = _input(header(alg="ES256", kid="ec-1"))
    return f"{signing_input}.{segment(ec_key().sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))}"


def _es_parts(change):
    signing_input = _input(header(alg="ES256", kid="ec-1"))
    r, s = decode_dss_signature(ec_key().sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signing_input}.{segment(change(r, s))}"


def _es_with(r, s):
    return lambda: _with(header(alg="ES256", kid="ec-1"), _ints(r, s))


def _textbook_rsa():
    """Signed as PKCS #1 would, but with rubbish after the digest (Bleichenbacher 2006)."""
    signing_input = _input(header())
    info = bytes.fromhex("3031300d060960864801650304020105000420")
    block = b"\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\x00" + info
    block += hashlib.sha256(signing_input.encode()).digest()
    block += b"\x00" * (256 - len(block))
    numbers = rsa_key().private_numbers()
    raw = pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n)
    return f"{signing_input}.{segment(raw.to_bytes(256, 'big'))}"


_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
FORGERIES = {
    "none": lambda: f"{_input(header(alg='none'))}.",
    "none with a signature": lambda: _with(header(alg="none"), b"x"),
    "nOnE": lambda: _with(header(alg="nOnE"), b"x"),
    "hmac with the public PEM": lambda: _hmac_with(
        rsa_key().public_key().public_bytes(serialization.Encoding.PEM, _SPKI)
    ),
    "hmac with the public DER": lambda: _hmac_with(
        rsa_key().public_key().public_bytes(serialization.Encoding.DER, _SPKI)
    ),
    "hmac with the JWK": lambda: _hmac_with(json.dumps(public_jwk(rsa_key(), kid="rsa-1")).encode()),
    "hmac with nothing": lambda: _hmac_with(b""),
    "r = s = 0": _es_with(0, 0),
    "r = s = order": _es_with(P256_ORDER, P256_ORDER),
    "r = 0": _es_with(0, 1),
    "s = 0": _es_with(1, 0),
    "r = s = 1": _es_with(1, 1),
    "r = s = order - 1": _es_with(P256_ORDER - 1, P256_ORDER - 1),
    "DER in place of r and s": _es_der,
    "s and r exchanged": lambda: _es_parts(lambda r, s: _ints(s, r)),
    "r and s with leading zeros": lambda: _es_parts(
        lambda r, s: b"\x00" + _ints(r, 0)[:32] + b"\x00" + _ints(s, 0)[:32]
    ),
    "r only": lambda: _es_parts(lambda r, s: r.to_bytes(32, "big")),
    "r, s and more": lambda: _es_parts(lambda r, s: _ints(r, s) + b"\x00"),
    "ES256 by another curve": lambda: mint(_fresh(), header(alg="ES256", kid="ec-1"), key=ec_key("P-384")),
    "ES384 by a P-256 key": lambda: mint(_fresh(), header(alg="ES384", kid="ec-1"), key=ec_key()),
    "ES256 named, RSA signed": lambda: mint(_fresh(), header(alg="ES256", kid="rsa-1")),
    "RS256 named, EC signed": lambda: mint(_fresh(), header(alg="RS256", kid="ec-1"), key=ec_key()),
    "PSS in place of PKCS #1": lambda: _rsa_signed(padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
    "PS256 named": lambda: mint(_fresh(), header(alg="PS256")),
    "SHA-512 in place of SHA-256": lambda: _rsa_signed(padding.PKCS1v15(), hashes.SHA512()),
    "SHA-1": lambda: _rsa_signed(padding.PKCS1v15(), hashes.SHA1()),
    "rubbish after the digest": _textbook_rsa,
    "RSA signature of zero": lambda: _with(header(), b"\x00" * 256),
    "RSA signature of one": lambda: _with(header(), b"\x00" * 255 + b"\x01"),
    "RSA signature shorter": lambda: mint(_fresh()).rpartition(".")[0] + "." + segment(b"\x01" * 255),
    "another key": lambda: mint(_fresh(), key=rsa_key("stranger")),
    "a key brought along": lambda: mint(
        _fresh(), header(jwk=public_jwk(rsa_key("stranger"))), key=rsa_key("stranger")
    ),
    "a key looked up elsewhere": lambda: mint(
        _fresh(), header(jku="https://evil.example/jwks"), key=rsa_key("stranger")
    ),
    "certificates brought along": lambda: mint(_fresh(), header(x5c=["AAAA"]), key=rsa_key("stranger")),
    "unencoded payload": lambda: mint(_fresh(), header(b64=False, crit=["b64"])),
    "other claims under a good signature": lambda: ".".join(
        [*_input(header()).split("."), mint(_fresh(sub="root")).split(".")[2]]
    ),
    "an encrypted token's five parts": lambda: f"{_input(header())}.AA.AA.AA",
    "the JSON form": lambda: json.dumps({"payload": "e30", "signatures": []}),
    "not ASCII": lambda: mint(_fresh()) + "é",
    "lone surrogate": lambda: mint(_fresh()) + "\ud800",
    "padding": lambda: mint(_fresh()) + "==",
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_forgery_is_allowed(run, forgery):
    code, output = run(FORGERIES[forgery](), "--json")
    assert code == 1
    document = json.loads(output)
    assert document["outcome"] == "deny"
    assert document["role_arn"] is None
    assert any(entry["passed"] is False for entry in document["verification"])


def test_what_the_forgeries_imitate_is_allowed(run):
    assert run(mint(_fresh(), header(kid="rsa-1")))[0] == 0
    assert run(mint(_fresh(), header(alg="ES256", kid="ec-1"), key=ec_key()))[0] == 0
    assert run(_es_parts(_ints))[0] == 0
