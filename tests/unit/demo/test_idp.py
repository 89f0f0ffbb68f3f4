import time

import jwt
import pytest
from starlette.testclient import TestClient

from extproc.demo.idp import IdpSettings, create_app
from support.tables import each_case

ISSUER = "http://idp.example:9000"
AUDIENCE = "https://mcp.example/mcp"
LOGIN = {"grant_type": "password", "username": "demo-admin", "password": "demo"}


@pytest.fixture(scope="module")
def shared_app():
    return create_app(IdpSettings(issuer=ISSUER, audience=AUDIENCE))


@pytest.fixture
def client(shared_app):
    with TestClient(shared_app, base_url=ISSUER) as client:
        yield client
        client.post("/_control/faults", json={"jwks": None, "discovery": None})


def decoded(client, token, audience=AUDIENCE, **options):
    header = jwt.get_unverified_header(token)
    keys = {key["kid"]: key for key in client.get("/jwks.json").json()["keys"]}
    key = jwt.PyJWK.from_dict(keys[header["kid"]])
    return header, jwt.decode(
        token, key, algorithms=[header["alg"]], audience=audience, issuer=ISSUER, **options
    )


@pytest.mark.parametrize(
    "path", ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"]
)
def test_both_discovery_documents_name_the_endpoints_under_the_issuer(client, path):
    document = client.get(path).json()
    assert document["issuer"] == ISSUER
    assert document["jwks_uri"] == f"{ISSUER}/jwks.json"
    assert document["token_endpoint"] == f"{ISSUER}/token"
    assert document["authorization_endpoint"] == f"{ISSUER}/authorize"
    assert document["registration_endpoint"] == f"{ISSUER}/register"
    assert document["code_challenge_methods_supported"] == ["S256"]


def test_an_issuer_with_a_path_is_served_under_that_path():
    app = create_app(IdpSettings(issuer="http://idp.example/realm", audience=AUDIENCE))
    client = TestClient(app)
    assert (
        client.get("/realm/.well-known/openid-configuration").json()["issuer"] == "http://idp.example/realm"
    )
    assert client.get("/.well-known/oauth-authorization-server/realm").status_code == 200
    assert client.get("/realm/jwks.json").status_code == 200
    assert client.get("/jwks.json").status_code == 404


@each_case("issuer", ["", "idp.example", "ftp://idp.example", "http://idp.example/"])
def test_a_bad_issuer_is_refused_when_settings_are_made(issuer):
    with pytest.raises(ValueError, match="issuer"):
        IdpSettings(issuer=issuer, audience=AUDIENCE)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_token_verifies_against_the_published_key_set(client, algorithm):
    answer = client.post("/token", data={**LOGIN, "alg": algorithm})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["expires_in"] == 3600
    header, claims = decoded(client, answer.json()["access_token"])
    assert header["typ"] == "at+jwt"
    assert header["alg"] == algorithm
    assert claims.keys() == {
        "iss", "sub", "aud", "iat", "nbf", "exp", "jti", "client_id", "scope", "groups", "email",
    }  # fmt: skip
    assert claims["sub"] == "demo-admin"
    assert claims["groups"] == ["admins"]
    assert claims["exp"] - claims["iat"] == 3600


@pytest.mark.parametrize(
    ("username", "groups"),
    [("demo-admin", ["admins"]), ("demo-developer", ["developers"]), ("demo-guest", [])],
)
def test_each_account_has_its_groups(client, username, groups):
    token = client.post("/token", data={**LOGIN, "username": username}).json()["access_token"]
    assert decoded(client, token)[1]["groups"] == groups


def test_the_demo_parameters_shape_the_token(client):
    form = {
        **LOGIN,
        "user": "alice",
        "groups": "a,b",
        "audience": "other",
        "client_id": "me",
        "scope": "openid",
    }
    claims = decoded(client, client.post("/token", data=form).json()["access_token"], audience="other")[1]
    assert (claims["sub"], claims["groups"], claims["aud"]) == ("alice", ["a", "b"], "other")
    assert (claims["client_id"], claims["scope"], claims["email"]) == ("me", "openid", "alice@demo.example")


def test_resource_names_the_audience_as_well(client):
    token = client.post("/token", data={**LOGIN, "resource": "https://r"}).json()["access_token"]
    assert decoded(client, token, audience="https://r")[1]["aud"] == "https://r"


def test_a_negative_lifetime_gives_a_token_that_was_valid_once(client):
    token = client.post("/token", data={**LOGIN, "lifetime": "-10"}).json()["access_token"]
    with pytest.raises(jwt.ExpiredSignatureError):
        decoded(client, token)
    claims = decoded(client, token, options={"verify_exp": False})[1]
    assert claims["iat"] < claims["exp"] < time.time()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
        ({"password": "wrong"}, "invalid_grant"),
        ({"username": "nobody"}, "invalid_grant"),
        ({"username": ""}, "invalid_request"),
        ({"alg": "none"}, "invalid_request"),
        ({"lifetime": "soon"}, "invalid_request"),
        ({"lifetime": "99999999"}, "invalid_request"),
    ],
)
def test_a_mistake_at_the_token_endpoint_is_an_oauth_error(client, change, error):
    answer = client.post("/token", data={**LOGIN, **change})
    assert answer.status_code == 400
    assert answer.json()["error"] == error
    assert answer.headers["cache-control"] == "no-store"


def test_a_repeated_parameter_or_another_media_type_is_an_invalid_request(client):
    form = "grant_type=password&grant_type=password"
    repeated = client.post(
        "/token", content=form, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert repeated.json()["error"] == "invalid_request"
    assert client.post("/token", json=LOGIN).json()["error"] == "invalid_request"
    assert client.get("/token").status_code == 405


def test_rotation_publishes_new_keys_and_keeps_or_drops_the_old(client):
    before = client.post("/token", data=LOGIN).json()["access_token"]
    old_kid = jwt.get_unverified_header(before)["kid"]
    kept = client.post("/_control/rotate").json()
    assert old_kid in kept["published"]
    assert old_kid not in kept["kids"]
    decoded(client, before)
    dropped = client.post("/_control/rotate?drop=1").json()
    assert dropped["published"] == dropped["kids"]
    after = client.post("/token", data=LOGIN).json()["access_token"]
    assert jwt.get_unverified_header(after)["kid"] in dropped["kids"]
    decoded(client, after)


def test_the_key_set_is_cacheable_and_holds_no_private_part(client):
    answer = client.get("/jwks.json")
    assert answer.headers["cache-control"] == "max-age=300"
    for key in answer.json()["keys"]:
        assert not key.keys() & {"d", "p", "q", "dp", "dq", "qi"}


def test_faults_break_one_endpoint_until_cleared(client):
    client.post("/_control/faults", json={"jwks": "error"})
    assert client.get("/jwks.json").status_code == 500
    assert client.get("/.well-known/openid-configuration").status_code == 200
    client.post("/_control/faults", json={"jwks": "malformed", "discovery": "error"})
    assert client.get("/.well-known/openid-configuration").status_code == 500
    with pytest.raises(ValueError):
        client.get("/jwks.json").json()
    client.post("/_control/faults", json={"jwks": None})
    assert client.get("/jwks.json").json()["keys"]


@pytest.mark.parametrize("body", [{"jwks": "burn"}, {"token": "error"}, [], {"jwks": 1}])
def test_an_unknown_fault_is_refused(client, body):
    assert client.post("/_control/faults", json=body).status_code == 400


def test_hits_are_counted_by_path(client):
    count = client.get("/_control/stats").json()["hits"].get("/jwks.json", 0)
    client.get("/jwks.json")
    assert client.get("/_control/stats").json()["hits"]["/jwks.json"] == count + 1
    assert client.get("/healthz").json() == {"status": "ok"}
