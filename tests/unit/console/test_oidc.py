"""Login by OpenID Connect, with a provider in memory."""

import json
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from extproc import config
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.keys import KeyDocument
from extproc.console.access import Access
from extproc.console.oidc import Attempt, LoginError, OidcLogin
from extproc.console.token_request import TokenRequestError, post_form
from support.admin import SETTINGS
from support.console import OIDC
from support.tables import each_case
from support.tokens import ISSUER, KID, NOW, claims, header, key_set, mint, public_jwk, rsa_key

REDIRECT = "https://console.example/login/callback"
METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize?tenant=1",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
}


class Provider:
    """Metadata, keys and the token endpoint."""

    def __init__(self, **metadata):
        self.metadata = {**METADATA, **metadata}
        self.sent = None
        self.tokens = {}
        self.failure = None

    async def get(self, url, *, allow_http):
        if self.failure:
            raise KeyDocumentError(self.failure)
        if url.endswith("/keys"):
            return KeyDocument(key_set(public_jwk(rsa_key(), kid=KID, alg="RS256", use="sig")))
        return KeyDocument(json.dumps(self.metadata).encode())

    async def post(self, url, form, *, secret, client_id, allow_http):
        self.sent = SimpleNamespace(url=url, form=form, secret=secret)
        if self.failure:
            raise TokenRequestError(self.failure)
        return self.tokens


def login_at(provider, extra="", clock=lambda: NOW):
    settings = config.parse(SETTINGS + OIDC + extra)
    return OidcLogin(settings, redirect_uri=REDIRECT, clock=clock, documents=provider, post=provider.post)


def id_token(attempt, *, typ="JWT", **changes):
    own = {"aud": "console", "nonce": attempt.nonce, **changes}
    return mint(claims(**own), header(typ=typ))


def answer(attempt, **changes):
    return {"state": attempt.state, "code": "the-code", "iss": ISSUER, **changes}


async def test_the_browser_is_sent_to_the_issuer_with_pkce_state_and_nonce():
    attempt = Attempt.new("/sessions")
    url = urlsplit(await login_at(Provider()).authorization_url(attempt))
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{ISSUER}/authorize"
    assert query == {
        "tenant": "1",
        "response_type": "code",
        "client_id": "console",
        "redirect_uri": REDIRECT,
        "scope": "openid",
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": attempt.challenge,
        "code_challenge_method": "S256",
    }
    assert len({attempt.state, attempt.nonce, attempt.verifier, attempt.challenge}) == 4


def test_the_challenge_is_that_of_rfc_7636():
    attempt = replace(Attempt.new("/"), verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert attempt.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_a_verified_id_token_of_this_login_names_the_user():
    provider, attempt = Provider(), Attempt.new("/")
    provider.tokens = {"id_token": id_token(attempt, groups=["operators"]), "access_token": "canary"}
    identity = await login_at(provider).finish(attempt, answer(attempt))
    assert (identity.issuer, identity.subject) == (ISSUER, "alice")
    assert provider.sent.form == {
        "grant_type": "authorization_code",
        "code": "the-code",
        "redirect_uri": REDIRECT,
        "client_id": "console",
        "code_verifier": attempt.verifier,
    }
    user = Access(config.parse(SETTINGS + OIDC).console).of_claims(identity.issuer, identity.claims)
    assert (user.subject, user.may_act, user.may_see_claims) == ("alice", False, False)


@each_case(
    "changes",
    [
        {"aud": "another-client"},
        {"aud": ["console", "other"]},
        {"aud": ["console", "other"], "azp": "other"},
        {"azp": "other"},
        {"iss": "https://evil.example"},
        {"exp": NOW - 60},
        {"exp": None},
        {"sub": None},
        {"nonce": None},
        {"nonce": "of-another-login"},
        {"nonce": ["x"]},
        {"typ": "at+jwt"},
        {"typ": "logout+jwt"},
    ],
)
async def test_no_other_token_logs_anybody_in(changes):
    provider, attempt = Provider(), Attempt.new("/")
    provider.tokens = {"id_token": id_token(attempt, **changes)}
    with pytest.raises(LoginError) as error:
        await login_at(provider).finish(attempt, answer(attempt))
    assert provider.tokens["id_token"] not in str(error.value)


async def test_a_token_that_another_key_has_signed_logs_nobody_in():
    provider, attempt = Provider(), Attempt.new("/")
    provider.tokens = {
        "id_token": mint(claims(aud="console", nonce=attempt.nonce), header(typ="JWT"), key=rsa_key("evil"))
    }
    with pytest.raises(LoginError, match="signature_invalid"):
        await login_at(provider).finish(attempt, answer(attempt))


@each_case(
    "changes",
    [
        {"state": "of-another-browser"},
        {"state": ""},
        {"state": "é"},
        {"iss": "https://evil.example"},
        {"code": ""},
        {"error": "access_denied"},
    ],
)
async def test_an_answer_that_does_not_fit_is_refused_before_its_code_is_used(changes):
    provider, attempt = Provider(), Attempt.new("/")
    with pytest.raises(LoginError):
        await login_at(provider).finish(attempt, answer(attempt, **changes))
    assert provider.sent is None


@each_case(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "http://idp.example/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
async def test_metadata_that_cannot_be_trusted_send_no_browser_anywhere(metadata):
    with pytest.raises(LoginError, match="metadata"):
        await login_at(Provider(**metadata)).authorization_url(Attempt.new("/"))


async def test_a_provider_that_does_not_answer_is_said_so():
    provider = Provider()
    provider.failure = "timed out"
    login = login_at(provider)
    with pytest.raises(LoginError, match="does not answer"):
        await login.authorization_url(Attempt.new("/"))


async def test_a_token_endpoint_that_refuses_is_said_so():
    provider, attempt = Provider(), Attempt.new("/")
    login = login_at(provider)
    await login.authorization_url(attempt)
    provider.failure = "HTTP status 400"
    with pytest.raises(LoginError, match="gave no token: HTTP status 400"):
        await login.finish(attempt, answer(attempt))
    provider.failure = None
    with pytest.raises(LoginError, match="no ID token"):
        await login.finish(attempt, answer(attempt))


async def test_a_confidential_client_shows_its_secret_and_never_names_it(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("canary-secret\n")
    provider, attempt = Provider(), Attempt.new("/")
    provider.tokens = {"id_token": id_token(attempt)}
    with_secret = OIDC.replace("client_id: console", f"client_id: console, client_secret_file: '{secret}'")
    settings = config.parse(SETTINGS + with_secret)
    login = OidcLogin(
        settings, redirect_uri=REDIRECT, clock=lambda: NOW, documents=provider, post=provider.post
    )
    await login.finish(attempt, answer(attempt))
    assert provider.sent.secret == "canary-secret"
    secret.unlink()
    with pytest.raises(LoginError, match="cannot read"):
        await login.finish(attempt, answer(attempt))


async def test_a_token_is_never_asked_for_in_clear_text_of_another_machine():
    with pytest.raises(TokenRequestError, match="HTTPS"):
        await post_form("http://idp.example/token", {}, client_id="c", secret=None, allow_http=False)


async def test_where_the_issuer_announces_that_it_names_itself_an_answer_without_its_name_is_refused():
    provider = Provider(authorization_response_iss_parameter_supported=True)
    login, attempt = login_at(provider), Attempt.new("/")
    with pytest.raises(LoginError, match="does not say which issuer"):
        await login.finish(attempt, {"state": attempt.state, "code": "the-code"})
    assert provider.sent is None
