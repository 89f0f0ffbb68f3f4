"""The code flow of the demo's provider: a code works once, for the request that it was issued for."""

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from starlette.testclient import TestClient

from extproc.demo.idp import IdpSettings, create_app

ISSUER = "http://idp.example:9000"
REDIRECT = "http://127.0.0.1:7777/callback"
RESOURCE = "https://gateway.example/mcp"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def app():
    return create_app(IdpSettings(issuer=ISSUER, audience="https://default.example"))


@pytest.fixture
def client(app):
    with TestClient(app, base_url=ISSUER, follow_redirects=False) as client:
        yield client


def _register(client, **changes):
    return client.post("/register", json={"redirect_uris": [REDIRECT], "client_name": "<b>", **changes})


def _query(client, **changes):
    usual = {
        "response_type": "code",
        "client_id": changes.pop("client_id", None) or _register(client).json()["client_id"],
        "redirect_uri": REDIRECT,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "resource": RESOURCE,
        "state": "s&t",
        "login_hint": "demo-admin",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def _form(client, **changes):
    query = _query(client)
    location = client.get("/authorize", params=query).headers["location"]
    usual = {
        "grant_type": "authorization_code",
        "code": parse_qs(urlsplit(location).query)["code"][0],
        "client_id": query["client_id"],
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
        "resource": RESOURCE,
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def test_a_code_becomes_a_token_for_the_resource_and_the_chosen_account(client):
    answer = client.post("/token", data=_form(client))
    claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    assert (claims["sub"], claims["aud"], claims["groups"]) == ("demo-admin", RESOURCE, ["admins"])
    assert claims["client_id"].startswith("demo-")


def test_the_browser_goes_back_with_code_state_and_issuer(client):
    answer = client.get("/authorize", params=_query(client))
    assert answer.status_code == 302
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert (query["state"], query["iss"]) == (["s&t"], [ISSUER])


def test_without_an_account_there_is_a_page_to_choose_one_and_nothing_in_it_is_markup_of_a_client(client):
    page = client.get("/authorize", params=_query(client, login_hint=None))
    assert page.status_code == 200
    assert "login_hint=demo-admin" in page.text
    assert "<b>" not in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "unknown"},
        {"redirect_uri": "http://127.0.0.1:7777/other"},
        {"redirect_uri": None},
        {"response_type": "token"},
        {"code_challenge": None},
        {"code_challenge": "short"},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
    ],
)
def test_a_bad_request_for_a_code_redirects_nowhere(client, changes):
    answer = client.get("/authorize", params=_query(client, **changes))
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "unknown"},
        {"code_verifier": "w" * 43},
        {"code_verifier": None},
        {"client_id": "another"},
        {"client_id": None},
        {"redirect_uri": "http://127.0.0.1:7777/other"},
        {"resource": "https://other.example"},
    ],
)
def test_a_code_fits_only_what_it_was_made_for(client, changes):
    answer = client.post("/token", data=_form(client, **changes))
    assert answer.status_code == 400
    assert answer.json()["error"] in ("invalid_grant", "invalid_target")


def test_a_code_works_once_even_if_the_first_try_failed(client):
    form = _form(client)
    assert client.post("/token", data=form).status_code == 200
    assert client.post("/token", data=form).status_code == 400
    form = _form(client)
    client.post("/token", data={**form, "code_verifier": "x" * 43})
    assert client.post("/token", data=form).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uris": []},
        {"redirect_uris": "http://127.0.0.1/"},
        {"redirect_uris": ["http://evil.example/"]},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": ["https://a.example/#x"]},
        {"redirect_uris": [REDIRECT, 1]},
        {"token_endpoint_auth_method": "client_secret_basic"},
    ],
)
def test_only_public_clients_with_safe_addresses_can_register(client, changes):
    assert _register(client, **changes).status_code == 400
    assert client.post("/register", content=b"{").status_code == 400
