"""``issuers[].token_exchange``: what is accepted, and which combinations are refused."""

import pytest
import yaml

from extproc import config
from support.tables import each_case

EXCHANGE = {
    "grant": "token-exchange",
    "client_id": "gateway",
    "client_secret_file": "/run/secrets/client",
    "token_audiences": ["aws"],
}
ISSUER = {"issuer": "https://idp.example", "audiences": ["https://mcp.example/mcp"]}


def _parse(exchange=None, *, issuer=None, without=(), **changes):
    settings = {name: value for name, value in EXCHANGE.items() if name not in without} | (exchange or {})
    document = {
        "resource": {"url": "https://mcp.example/mcp"},
        "issuers": [{**ISSUER, "token_exchange": settings, **(issuer or {})}],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "fallback_role_arn": "arn:aws:iam::123456789012:role/R",
    }
    return config.parse(yaml.safe_dump({**document, **changes}))


def _exchange(exchange=None, **changes):
    return _parse(exchange, **changes).issuers[0].token_exchange


@pytest.mark.parametrize(
    ("file", "method"),
    [
        ("client_secret_file", "client_secret_basic"),
        ("private_key_file", "private_key_jwt"),
        ("client_assertion_file", "client_assertion"),
    ],
)
def test_the_file_that_is_given_says_how_the_gateway_authenticates(file, method):
    found = _exchange({file: "/run/secrets/file"}, without=["client_secret_file"])
    assert found.method == method
    assert found.files == [(file, "/run/secrets/file")]


def test_a_secret_may_go_into_the_form():
    assert _exchange({"client_authentication": "client_secret_post"}).method == "client_secret_post"


def test_audiences_resources_and_scopes_are_one_value_or_a_list():
    one = _exchange({"audience": "aws", "resource": "https://aws.example/", "scope": "a b"})
    assert (one.audiences, one.resources, one.scopes) == (["aws"], ["https://aws.example/"], "a b")
    several = _exchange({"audience": ["a", "b"], "scope": ["a", "b"]})
    assert (several.audiences, several.resources, several.scopes) == (["a", "b"], [], "a b")


@each_case(
    ("change", "without", "problem"),
    [
        ({}, ["client_secret_file"], "exactly one of"),
        ({"private_key_file": "/k"}, [], "exactly one of"),
        ({"client_authentication": "private_key_jwt"}, [], "does not use client_secret_file"),
        ({"key_id": "k"}, [], "key_id without private_key_file"),
        ({"assertion_audience": "a"}, [], "assertion_audience without private_key_file"),
        ({"grant": "jwt-bearer", "requested_token_type": "t"}, [], "is of grant: token-exchange"),
        ({"token_endpoint": "http://idp.example/token"}, [], "clear text"),
        ({"grant": "password"}, [], "grant"),
        ({}, ["token_audiences"], "token_audiences"),
        ({"token_audiences": []}, [], "token_audiences"),
        ({"scope": 'a"b'}, [], "scope"),
        ({"token_issuer": "https://idp.exampel"}, [], "did you mean"),
        ({"signing_algorithm": "HS256"}, [], "signing_algorithm"),
    ],
)
def test_what_cannot_work_or_is_dangerous_is_refused(change, without, problem):
    with pytest.raises(config.ConfigError) as caught:
        _parse(change, without=without)
    assert problem in str(caught.value)


def test_clear_text_must_be_allowed_unless_it_stays_on_this_machine():
    assert _exchange({"token_endpoint": "http://127.0.0.1:8080/token"}).token_endpoint
    assert _exchange({"token_endpoint": "http://idp.example/token", "insecure_plaintext": True})


def test_metadata_that_names_the_endpoint_comes_over_https_or_from_this_machine():
    plain = {"issuer": "http://idp.example", "allow_insecure_http": True}
    with pytest.raises(config.ConfigError, match="fetched in clear text"):
        _parse(issuer=plain)
    assert _exchange({"token_endpoint": "https://idp.example/token"}, issuer=plain)
    assert _exchange({"insecure_plaintext": True}, issuer=plain)
    assert _exchange(issuer={"issuer": "http://127.0.0.1:8080"})


def test_only_one_setting_says_what_sts_gets():
    with pytest.raises(config.ConfigError, match="exclude each other"):
        _parse(issuer={"sts_token_header": "x-id-token"})


def test_credentials_are_not_reused_by_identity_after_an_exchange():
    with pytest.raises(config.ConfigError, match="token_exchange exclude each other"):
        _parse(cache={"reuse": "identity"})


def test_an_issuer_that_envoy_verifies_needs_another_one_for_exchanged_tokens():
    by_envoy = {"verified_by": "envoy", "jwks_file": "/keys"}
    with pytest.raises(config.ConfigError, match="there is no discovery"):
        _parse(issuer=by_envoy)
    endpoint = {"token_endpoint": "https://idp.example/token"}
    with pytest.raises(config.ConfigError, match="Envoy has its keys"):
        _parse(endpoint, issuer=by_envoy)
    other = {"issuer": "https://other.example", "audiences": ["a"]}
    exchange = {**EXCHANGE, **endpoint, "token_issuer": "https://other.example"}
    assert _parse(issuers=[{**ISSUER, **by_envoy, "token_exchange": exchange}, other])


@each_case(
    ("change", "words"),
    [
        ({"token_audiences": ["https://mcp.example/mcp"]}, "a token meant for AWS"),
        ({"token_audiences": ["aws", "aws"]}, "is listed twice"),
        ({"audience": []}, "what the token is for"),
        ({"grant": "jwt-bearer"}, "Entra ID needs one"),
        ({"token_issuer": "https://idp.example"}, "is the default"),
    ],
)
def test_what_is_likely_wrong_is_a_warning(change, words):
    (warning,) = config.warnings(_parse({"audience": "aws", **change}))
    assert warning.startswith("issuers[0].token_exchange.")
    assert words in warning


def test_a_usual_exchange_has_no_warning():
    assert config.warnings(_parse({"audience": "aws"})) == []
