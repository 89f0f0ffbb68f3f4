"""How the gateway proves its identity at a token endpoint, and the files behind it."""

import base64
import os

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from extproc.token_exchange.client_authentication import (
    ASSERTION_TYPE,
    ClientAssertion,
    ClientSecret,
    PrivateKey,
)
from extproc.token_exchange.files import MAX_BYTES, ClientFileError, WatchedFile, parse_secret
from support.certificates import Authority

ENDPOINT = "https://idp.example/token"
NOW = 1_790_000_000
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture
def file(tmp_path):
    def write(content, name="file"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def decoded(proof, key, algorithm):
    assertion = proof.parameters["client_assertion"]
    claims = jwt.decode(
        assertion,
        key.public_key(),
        [algorithm],
        audience=ENDPOINT,
        options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
    )
    return jwt.get_unverified_header(assertion), claims


def test_a_secret_goes_into_a_header_that_is_encoded_twice(file):
    proof = ClientSecret("a client", file("s+c/r:t%\n"), in_form=False).proof(ENDPOINT)
    name, secret = base64.b64decode(proof.headers["authorization"].removeprefix("Basic ")).split(b":")
    assert (name, secret) == (b"a+client", b"s%2Bc%2Fr%3At%25")
    assert not proof.parameters


def test_a_secret_goes_into_the_form_as_it_is(file):
    proof = ClientSecret("gateway", file("s+c/r:t"), in_form=True).proof(ENDPOINT)
    assert proof.parameters == {"client_id": "gateway", "client_secret": "s+c/r:t"}
    assert not proof.headers


def test_an_assertion_is_read_again_when_its_file_changes(file):
    path = file("a.b.c")
    client = ClientAssertion("gateway", path)
    assert client.proof(ENDPOINT).parameters["client_assertion"] == "a.b.c"
    file("d.e.f\n")
    assert client.proof(ENDPOINT).parameters == {
        "client_id": "gateway",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": "d.e.f",
    }


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (RSA, "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
    ],
)
def test_a_key_signs_a_short_lived_assertion_for_the_endpoint(file, key, algorithm):
    client = PrivateKey("gateway", file(pem(key)), clock=lambda: NOW + 0.7, key_id="k1")
    header, claims = decoded(client.proof(ENDPOINT), key, algorithm)
    assert (header["kid"], header["alg"]) == ("k1", algorithm)
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("gateway", "gateway", ENDPOINT)
    assert claims["iat"] == claims["nbf"] == NOW
    assert 0 < claims["exp"] - NOW <= 300
    assert decoded(client.proof(ENDPOINT), key, algorithm)[1]["jti"] != claims["jti"]


def test_algorithm_audience_and_certificate_of_assertions_can_be_chosen(file, tmp_path):
    client = PrivateKey(
        "gateway",
        file(pem(RSA)),
        clock=lambda: NOW,
        algorithm="PS256",
        audience=ENDPOINT,
        certificate=Authority(tmp_path).issue("gateway").certificate,
    )
    header, claims = decoded(client.proof("https://other.example"), RSA, "PS256")
    assert claims["aud"] == ENDPOINT
    assert len(base64.urlsafe_b64decode(header["x5t#S256"] + "=")) == 32
    assert "kid" not in header


@pytest.mark.parametrize(
    ("content", "algorithm", "problem"),
    [
        (b"no key", None, "no private key in PEM"),
        (pem(ed25519.Ed25519PrivateKey.generate()), None, "neither an RSA key"),
        (pem(ec.generate_private_key(ec.SECP256K1())), None, "neither an RSA key"),
        (pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), None, "less than 2048"),
        (pem(RSA), "ES256", "signing_algorithm ES256 does not fit"),
    ],
)
def test_a_key_that_cannot_be_used_is_an_error_with_its_path(file, content, algorithm, problem):
    path = file(content)
    with pytest.raises(ClientFileError) as caught:
        PrivateKey("gateway", path, clock=lambda: NOW, algorithm=algorithm)
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)


def test_a_certificate_that_cannot_be_read_is_an_error(file):
    with pytest.raises(ClientFileError, match="no certificate in PEM"):
        PrivateKey("g", file(pem(RSA)), clock=lambda: NOW, certificate=file("x", "certificate"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b" secret", "one line"),
        (b"two\nlines", "one line"),
        ("s\u00e9cret".encode(), "not ASCII"),
        (b"x" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_a_secret_of_another_form_is_an_error_that_does_not_quote_it(file, content, problem):
    with pytest.raises(ClientFileError) as caught:
        ClientSecret("gateway", file(content), in_form=True)
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value).rpartition("/")[2]


def test_a_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(ClientFileError, match="No such file"):
        ClientSecret("gateway", tmp_path / "none", in_form=True)


def test_the_last_good_content_stays_while_a_file_cannot_be_used(file):
    path = file("one")
    watched = WatchedFile(path, parse_secret)
    path.unlink()
    assert watched.content() == "one"
    file("")
    assert watched.content() == "one"
    file("two")
    assert watched.content() == "two"


def test_an_unchanged_file_is_read_once(file):
    read = []
    watched = WatchedFile(file("one"), lambda body: read.append(body) or body)
    assert watched.content() == watched.content() == b"one"
    os.utime(watched._path, ns=(1, 1))
    watched.content()
    assert len(read) == 2


def test_proofs_show_nothing(file):
    proof = ClientSecret("gateway", file("canary"), in_form=True).proof(ENDPOINT)
    assert "canary" not in repr(proof)


@given(st.binary(max_size=40))
def test_a_secret_is_printable_or_refused(body):
    try:
        secret = parse_secret(body)
    except ValueError:
        return
    assert secret.isprintable()
    assert secret.encode() == body.rstrip(b"\r\n")
