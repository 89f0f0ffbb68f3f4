"""The demo's provider as the token endpoint of a gateway: who may exchange which token for what."""

import base64
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.testclient import TestClient

from extproc.demo.idp import IdpSettings, create_app
from extproc.demo.idp_exchange import TOKEN_EXCHANGE
from extproc.demo.idp_gateways import ASSERTION_TYPE

ISSUER = "http://idp.example:9000"
AUDIENCE = "https://mcp.example/mcp"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


@pytest.fixture(scope="module")
def app():
    return create_app(IdpSettings(issuer=ISSUER, audience=AUDIENCE))


@pytest.fixture
def http(app):
    with TestClient(app, base_url=ISSUER) as client:
        yield client


def token(http, **form):
    login = {"grant_type": "password", "username": "demo-developer", "password": "demo"}
    return http.post("/token", data={**login, **form}).json()["access_token"]


def exchanged(http, *, basic=("demo-gateway", "demo-gateway-secret"), without=(), **form):
    usual = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": form.pop("subject_token", None) or token(http),
        "subject_token_type": ACCESS_TOKEN,
        "audience": "demo-aws",
    }
    form = {name: value for name, value in {**usual, **form}.items() if name not in without}
    return http.post("/token", data=form, auth=basic)


def claims_of(answer):
    assert answer.status_code == 200, answer.text
    return jwt.decode(answer.json()["access_token"], options={"verify_signature": False})


def error(answer):
    assert answer.status_code >= 400
    return answer.json()["error"]


def gateway(http, shape, **how):
    wanted = {"client_id": f"{shape}-gateway", "audience": "aws", "shape": shape, **how}
    assert http.post("/_control/gateways", json=wanted).status_code == 200


def assertion(client_id, *, audience=f"{ISSUER}/token", lives=60, headers=None, jti=None, key=KEY):
    now = int(time.time())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "exp": now + lives,
        "jti": jti or str(time.monotonic_ns()),
    }
    return {
        "client_id": client_id,
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": jwt.encode(claims, key, algorithm="ES256", headers=headers),
    }


def test_a_gateway_gets_a_token_of_the_user_for_its_audience(http):
    answer = exchanged(http)
    claims = claims_of(answer)
    assert (claims["sub"], claims["aud"], claims["cid"]) == ("demo-developer", "demo-aws", "demo-gateway")
    assert "azp" not in claims
    assert answer.json()["issued_token_type"] == ACCESS_TOKEN
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("shape", ["auth0", "keycloak"])
def test_tokens_of_these_providers_have_the_gateway_as_azp(http, shape):
    gateway(http, shape, secret="s")
    claims = claims_of(
        exchanged(http, basic=None, audience="aws", client_id=f"{shape}-gateway", client_secret="s")
    )
    assert (claims["sub"], claims["azp"], claims["aud"]) == ("demo-developer", f"{shape}-gateway", "aws")


def test_on_behalf_of_gives_another_subject_and_the_same_object_id(http):
    gateway(http, "entra-v2", secret="s")
    subject_token = token(http, username="demo-azp")
    form = {"grant_type": JWT_BEARER, "assertion": subject_token, "requested_token_use": "on_behalf_of"}
    how = {"basic": ("entra-v2-gateway", "s"), "without": ["subject_token", "subject_token_type", "audience"]}
    claims = claims_of(exchanged(http, **how, **form, scope="aws/.default"))
    user = jwt.decode(subject_token, options={"verify_signature": False})
    assert claims["oid"] == user["oid"]
    assert claims["sub"] != user["sub"]
    assert claims["azp"] == "entra-v2-gateway"
    assert error(exchanged(http, **how, **form, scope="other/.default")) == "invalid_scope"
    form["requested_token_use"] = "x"
    assert error(exchanged(http, **how, **form, scope="aws/.default")) == "invalid_request"


def test_a_key_proves_the_gateway_once(http):
    gateway(http, "okta", public_key=PUBLIC.decode())
    proof = assertion("okta-gateway")
    assert claims_of(exchanged(http, basic=None, audience="aws", **proof))["cid"] == "okta-gateway"
    assert error(exchanged(http, basic=None, audience="aws", **proof)) == "invalid_client"


@pytest.mark.parametrize(
    "proof",
    [
        assertion("okta-gateway", audience="https://other.example"),
        assertion("okta-gateway", lives=3600),
        assertion("okta-gateway", lives=-60),
        assertion("okta-gateway", key=ec.generate_private_key(ec.SECP256R1())),
        assertion("demo-gateway"),
        assertion("nobody"),
        {**assertion("okta-gateway"), "client_assertion_type": "x"},
        {**assertion("okta-gateway"), "client_assertion": "a.b"},
        {**assertion("okta-gateway"), "client_secret": "s"},
        {"client_id": "okta-gateway", "client_secret": "s"},
        {},
    ],
)
def test_any_other_proof_is_refused(http, proof):
    gateway(http, "okta", public_key=PUBLIC.decode())
    answer = exchanged(http, basic=None, audience="aws", **proof)
    assert (error(answer), answer.status_code) == ("invalid_client", 401)


def test_entra_id_finds_the_certificate_by_its_thumbprint(http):
    gateway(http, "entra-v2", public_key=PUBLIC.decode())
    form = {
        "grant_type": JWT_BEARER,
        "assertion": token(http),
        "requested_token_use": "on_behalf_of",
        "scope": "aws/.default",
    }
    assert error(exchanged(http, basic=None, **form, **assertion("entra-v2-gateway"))) == "invalid_client"
    proof = assertion("entra-v2-gateway", headers={"x5t#S256": "t"})
    assert claims_of(exchanged(http, basic=None, **form, **proof))["oid"]


@pytest.mark.parametrize(
    "header", ["Basic ?", "Bearer x", "Basic " + base64.b64encode(b"demo-gateway:no").decode()]
)
def test_another_authorization_header_is_refused(http, header):
    form = {"grant_type": TOKEN_EXCHANGE}
    answer = http.post("/token", data=form, headers={"authorization": header})
    assert error(answer) == "invalid_client"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"subject_token": "a.b.c"}, "invalid_grant"),
        ({"audience": "other"}, "invalid_target"),
        ({"subject_token_type": "x"}, "invalid_request"),
        ({"requested_token_type": "x"}, "invalid_request"),
        ({"grant_type": JWT_BEARER}, "unauthorized_client"),
    ],
)
def test_what_is_not_allowed_is_refused(http, change, expected):
    assert error(exchanged(http, **change)) == expected


@pytest.mark.parametrize("form", [{"lifetime": "-60"}, {"audience": "https://other.example"}])
def test_only_a_current_token_for_the_gateway_is_exchanged(http, form):
    assert error(exchanged(http, subject_token=token(http, **form))) == "invalid_grant"


def test_the_new_token_does_not_outlive_the_users(http):
    claims = claims_of(exchanged(http, subject_token=token(http, lifetime="60")))
    assert claims["exp"] <= time.time() + 60


@pytest.mark.parametrize(
    "wanted",
    [
        [],
        {"client_id": "a"},
        {"client_id": "a", "audience": "b", "secret": "s", "public_key": "k"},
        {"x": "y"},
        {"client_id": "a", "audience": "b", "secret": "s", "shape": "other"},
        {"client_id": 7, "audience": "b"},
    ],
)
def test_a_gateway_of_another_form_is_refused(http, wanted):
    assert http.post("/_control/gateways", json=wanted).status_code == 400


def test_one_account_has_azp_in_its_tokens(http):
    claims = jwt.decode(
        token(http, username="demo-azp", client_id="cli"), options={"verify_signature": False}
    )
    assert (claims["azp"], claims["aud"]) == ("cli", AUDIENCE)
    assert "azp" not in jwt.decode(token(http), options={"verify_signature": False})


def test_the_exchange_can_be_made_to_fail(http):
    http.post("/_control/faults", json={"exchange": "error"})
    assert exchanged(http).status_code == 500
    http.post("/_control/faults", json={"exchange": None})
    assert exchanged(http).status_code == 200
