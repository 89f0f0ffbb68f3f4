"""Refresh tokens of the demo's provider: each works once, for its client, resource and scopes."""

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from starlette.testclient import TestClient

from extproc.demo.idp import IdpSettings, create_app
from extproc.demo.idp_errors import OAuthError
from extproc.demo.idp_refresh import Login, RefreshTokens
from support.tables import each_case

LOGIN = Login(account="demo-admin", client_id="c", audience="https://r.example/mcp", scope="openid mcp")


def _form(token, **changes):
    return {"refresh_token": token, "client_id": "c", **changes}


def test_each_token_works_once_and_brings_the_next():
    tokens = RefreshTokens()
    token = tokens.begin(LOGIN)
    seen = {token}
    for _ in range(5):
        login, token = tokens.rotate(_form(token, resource=LOGIN.audience))
        assert login == LOGIN
        seen.add(token)
    assert len(seen) == 6


def test_a_second_use_ends_the_login_for_thief_and_owner():
    tokens = RefreshTokens()
    stolen = tokens.begin(LOGIN)
    other = tokens.begin(LOGIN)
    _, current = tokens.rotate(_form(stolen))
    with pytest.raises(OAuthError, match="used before"):
        tokens.rotate(_form(stolen))
    with pytest.raises(OAuthError, match="revoked"):
        tokens.rotate(_form(current))
    assert tokens.rotate(_form(other))[0] == LOGIN


@each_case("token", ["", ".", "x", "x.y", "\u00e9.\u00e9"])
def test_a_made_up_token_is_refused(token):
    with pytest.raises(OAuthError, match="invalid_grant"):
        RefreshTokens().rotate(_form(token))


@each_case(
    ("changes", "error"),
    [
        ({"client_id": "other"}, "invalid_grant"),
        ({"client_id": ""}, "invalid_grant"),
        ({"resource": "https://other.example/mcp"}, "invalid_target"),
        ({"scope": "openid mcp admin"}, "invalid_scope"),
    ],
)
def test_a_token_is_for_its_client_resource_and_scopes(changes, error):
    tokens = RefreshTokens()
    with pytest.raises(OAuthError, match=error):
        tokens.rotate(_form(tokens.begin(LOGIN), **changes))


def test_a_narrower_scope_is_for_one_access_token_only():
    tokens = RefreshTokens()
    narrow, token = tokens.rotate(_form(tokens.begin(LOGIN), scope="mcp"))
    assert narrow.scope == "mcp"
    assert tokens.rotate(_form(token))[0].scope == "openid mcp"


def _login(client):
    """Log in and redeem the code; returns the token response."""
    redirect, verifier = "http://127.0.0.1:7/callback", "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code", "client_id": "demo-client", "redirect_uri": redirect, "resource": "https://r.example",
        "code_challenge": challenge, "code_challenge_method": "S256", "login_hint": "demo-developer",
    }  # fmt: skip
    location = client.get("/authorize", params=query).headers["location"]
    form = {
        "grant_type": "authorization_code", "code": parse_qs(urlsplit(location).query)["code"][0],
        "client_id": "demo-client", "redirect_uri": redirect, "code_verifier": verifier,
    }  # fmt: skip
    return client.post("/token", data=form).json()


def test_the_token_endpoint_refreshes_with_the_lifetime_that_is_set():
    app = create_app(IdpSettings(issuer="http://idp.example", audience="https://a.example"))
    with TestClient(app, base_url="http://idp.example", follow_redirects=False) as client:
        assert client.post("/_control/lifetime", json={"seconds": 7}).status_code == 200
        first = _login(client)
        assert first["expires_in"] == 7
        form = {
            "grant_type": "refresh_token",
            "client_id": "demo-client",
            "refresh_token": first["refresh_token"],
        }
        second = client.post("/token", data=form).json()
        assert second["refresh_token"] != first["refresh_token"]
        claims = jwt.decode(second["access_token"], options={"verify_signature": False})
        assert (claims["sub"], claims["aud"]) == ("demo-developer", "https://r.example")
        assert claims["exp"] - claims["iat"] == 7
        refused = client.post("/token", data=form)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
        for body in ({}, {"seconds": 0}, {"seconds": True}, {"seconds": "7"}, []):
            assert client.post("/_control/lifetime", json=body).status_code == 400
