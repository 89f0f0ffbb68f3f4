"""The settings about tokens: what is accepted, and which dangerous ones are refused."""

import json

import pytest
import yaml

from extproc import config
from extproc.app.factories import build_key_stores, build_resource, build_verifier
from extproc.clock import system_clock
from extproc.errors import Reason
from support.tables import each_case

BASE = {
    "resource": {"url": "https://mcp.example/mcp"},
    "issuers": [{"issuer": "https://idp.example", "audiences": ["https://mcp.example/mcp"]}],
    "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
    "fallback_role_arn": "arn:aws:iam::123456789012:role/R",
}


def _parse(issuer=None, **changes):
    issuers = [{**BASE["issuers"][0], **(issuer or {})}]
    return config.parse(yaml.safe_dump({**BASE, "issuers": issuers, **changes}))


def _problem(issuer=None, **changes):
    with pytest.raises(config.ConfigError) as caught:
        _parse(issuer, **changes)
    return "\n".join(caught.value.problems)  # a union has one line a member


def test_every_setting_about_tokens_reaches_the_verifier():
    settings = _parse(
        {
            "required_claims": {"tid": "t1", "amr": ["mfa", "hwk"], "n": 1, "ok": True},
            "required_scopes": ["mcp", "aws:read"],
            "sts_token_header": "X-ID-Token",
            "sts_token_audiences": ["client"],
            "refresh": {"interval": 100, "max_staleness": 7200},
        },
        limits={"token_bytes": 9000, "claims_depth": 5, "claims_values": 100},
        resource={"url": "https://mcp.example/mcp", "name": "AWS"},
    )
    stores = build_key_stores(settings, system_clock)
    verifier = build_verifier(settings, stores, system_clock)
    trusted = verifier._issuers["https://idp.example"]
    assert trusted.required_claims == {"tid": ("t1",), "amr": ("mfa", "hwk"), "n": (1,), "ok": (True,)}
    assert type(trusted.required_claims["ok"][0]) is bool
    assert trusted.required_scopes.names == ("mcp", "aws:read")
    assert trusted.exchange_header == "x-id-token"
    assert "client" in trusted.exchange_audiences
    assert "https://mcp.example/mcp" not in trusted.exchange_audiences
    assert verifier.exchange_headers == {"x-id-token"}
    assert not verifier.reads_jwt_payload
    policy = stores["https://idp.example"]._policy
    assert (policy.interval, policy.max_staleness, policy.cooldown) == (100, 7200, 30)
    limits = verifier._limits
    assert (limits.size, limits.nesting, limits.values) == (9000, 5, 100)
    assert b'"resource_name": "AWS"' in build_resource(settings).metadata_for(
        "GET", "/.well-known/oauth-protected-resource"
    ).body  # fmt: skip


def test_the_global_refresh_settings_apply_where_an_issuer_has_none():
    stores = build_key_stores(_parse(refresh={"cooldown": 5}), system_clock)
    assert stores["https://idp.example"]._policy.cooldown == 5


def test_an_audience_of_its_own_is_optional_for_the_token_that_goes_to_sts():
    settings = _parse({"sts_token_header": "x-id-token"})
    verifier = build_verifier(settings, build_key_stores(settings, system_clock), system_clock)
    assert "https://mcp.example/mcp" in verifier._issuers["https://idp.example"].exchange_audiences


@pytest.mark.parametrize("ignored", [False, True])
def test_whether_a_slash_counts_reaches_the_verifier_for_both_tokens(ignored):
    settings = _parse(
        {"sts_token_header": "x-id-token", "sts_token_audiences": ["https://c.example"]}
        | {"ignore_audience_slash": ignored}
    )
    verifier = build_verifier(settings, build_key_stores(settings, system_clock), system_clock)
    trusted = verifier._issuers["https://idp.example"]
    assert ("https://mcp.example/mcp/" in trusted.audiences) is ignored
    assert ("https://c.example/" in trusted.exchange_audiences) is ignored


def test_the_metadata_has_the_scopes_of_issuers_and_rules_and_a_401_those_of_issuers():
    role = {"name": "a", "claim": "a", "role_arn": "arn:aws:iam::123456789012:role/R"}
    ceiling = {"name": "c", "matcher": "true", "max_mapping": "a", "require_scopes": ["aws:write", "mcp"]}
    settings = _parse(
        {"required_scopes": ["mcp"]},
        role_mappings=[role | {"require_scopes": ["aws:call"]}],
        ceilings=[ceiling],
        scopes={"aws:*": ["aws:call"]},
    )
    resource = build_resource(settings)
    document = resource.metadata_for("GET", "/.well-known/oauth-protected-resource").body
    assert json.loads(document)["scopes_supported"] == ["mcp", "aws:call", "aws:write"]
    assert 'scope="mcp"' in resource.challenge(Reason.TOKEN_MISSING)


def test_an_issuer_verified_by_envoy_has_no_key_source():
    settings = _parse({"verified_by": "envoy", "jwks_uri": "https://idp.example/jwks"})
    stores = build_key_stores(settings, system_clock)
    assert stores == {}
    assert build_verifier(settings, stores, system_clock).reads_jwt_payload


@each_case(
    ("issuer", "message"),
    [
        ({"token_types": ["at+jwt", "logout+jwt"]}, "logout+jwt is never an access token"),
        ({"token_types": ["DPoP+jwt"]}, "is never an access token"),
        ({"token_types": ["application/secevent+jwt"]}, "is never an access token"),
        ({"algorithms": ["HS256"]}, "not supported"),
        ({"algorithms": ["none"]}, "not supported"),
        ({"required_claims": {"tid": []}}, "required_claims"),
        ({"required_claims": {"tid": 1.5}}, "required_claims"),
        ({"required_claims": {"tid": {"a": "b"}}}, "required_claims"),
        ({"required_scopes": ["a b"]}, "required_scopes[0]"),
        ({"required_scopes": ['a"b']}, "required_scopes[0]"),
        ({"required_scopes": ["a\\b"]}, "required_scopes[0]"),
        ({"required_scopes": [""]}, "required_scopes[0]"),
        ({"refresh": {"cooldown": 0}}, "refresh.cooldown"),
        ({"refresh": {"interval": 30}}, "ascending order"),
        ({"refresh": {"max_staleness": 100}}, "ascending order"),
        ({"sts_token_header": "authorization"}, "sts_token_header"),
        ({"sts_token_header": "x-amz-date"}, "sts_token_header"),
        ({"sts_token_header": "x-forwarded-for"}, "sts_token_header"),
        ({"sts_token_audiences": ["a"]}, "without sts_token_header"),
        ({"verified_by": "envoy"}, "needs jwks_uri or jwks_file"),
        ({"verified_by": "nobody"}, "verified_by"),
        (
            {"verified_by": "envoy", "jwks_file": "/k", "sts_token_header": "x-id-token"},
            "exclude each other",
        ),
        ({"leeway": 121}, "leeway"),
    ],
)
def test_a_dangerous_or_useless_issuer_setting_is_refused(issuer, message):
    problem = _problem(issuer)
    assert message in problem
    assert problem.startswith("issuers[0]")


@each_case(
    "origin",
    ["*", "null", "app.example", "https://app.example/", "https://app.example/x", "https://App.example",
     "https://app.example:443", "http://app.example:80", "https://a@app.example", "ftp://app.example"],
)  # fmt: skip
def test_an_allowed_origin_is_written_as_browsers_send_it(origin):
    assert _problem(allowed_origins=[origin]).startswith("allowed_origins[0]: ")


@pytest.mark.parametrize(
    "origin", ["https://app.example", "http://localhost:6274", "https://app.example:8443"]
)
def test_usual_origins_are_accepted(origin):
    assert _parse(allowed_origins=[origin]).allowed_origins == [origin]


@each_case(
    "url",
    ['https://mcp.example/"x', "https://mcp.example/a\\b", "https://mcp.example/a b", "https://mcp.example/\t",
     "https://mcp.example/é", "https://mcp.example/?x", "https://mcp.example/#x", "https://u@mcp.example/"],
)  # fmt: skip
def test_the_resource_url_is_safe_in_a_quoted_string(url):
    assert _problem(resource={"url": url}).startswith("resource.url: ")


def test_credentials_of_another_token_are_not_reused_when_sts_gets_a_token_of_its_own():
    problem = _problem({"sts_token_header": "x-id-token"}, cache={"reuse": "identity"})
    assert "exclude each other" in problem


def test_a_header_that_carries_tokens_is_never_signed_and_forwarded():
    targets = [{**BASE["targets"][0], "sign_headers": ["x-id-token"]}]
    assert "carries tokens" in _problem({"sts_token_header": "x-id-token"}, targets=targets)


def test_an_alias_of_the_resource_has_its_own_document():
    alias = "https://other.example/mcp"
    settings = _parse(resource={"url": "https://mcp.example/mcp", "aliases": [alias]})
    document = build_resource(settings).metadata_for(
        "GET", "/.well-known/oauth-protected-resource/mcp", "other.example"
    )
    assert b'"resource": "https://other.example/mcp"' in document.body


@each_case(
    ("aliases", "problem"),
    [
        (["https://other.example/other"], "must have the path of resource.url, /mcp"),
        (["https://MCP.example/mcp"], "has the host of another URL"),
        (["https://a.example/mcp", "http://a.example/mcp"], "has the host of another URL"),
        (["a.example"], "must be an http(s) URL"),
    ],
)
def test_aliases_of_the_resource_differ_from_it_by_host_only(aliases, problem):
    assert problem in _problem(resource={"url": "https://mcp.example/mcp", "aliases": aliases})
