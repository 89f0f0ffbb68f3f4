"""The STS emulator, prepared with what ``extproc aws`` prints, takes the tokens of the configuration."""

import json
import xml.etree.ElementTree as ET

import pytest

from extproc.config.document import validate
from extproc.demo.sts import StsSettings
from support.emulated_account import ROLE, XML, account, ask, assume
from support.tables import each_case

AUDIENCE = "https://mcp.example.com/mcp"
TAGS = {"https://aws.amazon.com/tags": {"principal_tags": {"Team": ["a"]}, "transitive_tag_keys": ["Team"]}}
SOURCE = {"https://aws.amazon.com/source_identity": "alice"}


def configuration(issuer, role=ROLE, **change):
    settings = {"issuer": issuer, "audiences": [AUDIENCE], **change.pop("entry", {})}
    return validate(
        {
            "resource": {"url": AUDIENCE},
            "issuers": [settings, {"issuer": "https://other.example.com", "audiences": ["other"]}],
            "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
            "fallback_role_arn": role,
            **change,
        }
    )


IDP = "https://idp.example.com"
AZP = {"required_claims": {"azp": ["cli", "app"]}}
CASES = {
    "a plain issuer": (IDP, {}, {}, {}),
    "an issuer with a slash at the end": ("https://tenant.auth0.com/", {}, {}, {}),
    "an issuer with a path": ("https://org.okta.com/oauth2/default", {}, {}, {}),
    "an issuer with capitals in its path": ("https://keycloak.example.com/realms/Staff", {}, {}, {}),
    "azp": (IDP, {"entry": AZP}, {"azp": "cli"}, {}),
    "azp with a slash at the end": ("https://tenant.auth0.com/", {"entry": AZP}, {"azp": "app"}, {}),
    "azp and several audiences": (IDP, {"entry": AZP}, {"azp": "app", "aud": ["x", AUDIENCE]}, {}),
    "an ID token": (
        IDP,
        {"entry": {"sts_token_header": "x-id-token", "sts_token_audiences": ["client-1"]}},
        {"aud": "client-1"},
        {},
    ),
    "session tags": (IDP, {}, TAGS, {"session_tags": True}),
    "a source identity": (IDP, {}, SOURCE, {"source_identity": True}),
    "both": (IDP, {}, {**TAGS, **SOURCE}, {"session_tags": True, "source_identity": True}),
    "a pattern of subjects": (IDP, {}, {}, {"subject": "staff-*"}),
    "Google, which AWS knows by itself": (
        "https://accounts.google.com",
        {"entry": AZP},
        {"azp": "cli"},
        {},
    ),
    "another partition": (IDP, {"role": "arn:aws-cn:iam::123456789012:role/R"}, {}, {}),
}


@each_case("case", CASES)
def test_a_token_of_the_configuration_is_taken(case):
    issuer, change, claims, options = CASES[case]
    with account(configuration(issuer, **change), issuer, **options) as sts:
        assert assume(sts, issuer, change.get("role", ROLE), **claims) == ""


DENIED = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
WRONG_AUDIENCE = "Incorrect token audience"
REFUSALS = {
    "azp that is not a client id, though aud is": ({}, {"azp": "new-client"}, {}, WRONG_AUDIENCE),
    "azp that is not a string": ({}, {"azp": [AUDIENCE]}, {}, WRONG_AUDIENCE),
    "aud that is a client id, where azp is": (
        {"entry": AZP},
        {"azp": "new", "aud": "cli"},
        {},
        WRONG_AUDIENCE,
    ),
    "another aud under the right azp": ({"entry": AZP}, {"azp": "cli", "aud": "elsewhere"}, {}, DENIED),
    "no azp where it is required": ({"entry": AZP}, {}, {}, WRONG_AUDIENCE),
    "another subject": ({}, {"sub": "guest-1"}, {"subject": "staff-*"}, DENIED),
    "tags that no policy allows": ({}, TAGS, {}, "Not authorized to perform sts:TagSession"),
    "a source identity that no policy allows": (
        {},
        SOURCE,
        {"session_tags": True},
        "Not authorized to perform sts:SetSourceIdentity",
    ),
    "no aud": ({"entry": AZP}, {"azp": "cli", "aud": None}, {}, "Missing a required claim: aud"),
}


@each_case("case", REFUSALS)
def test_another_token_is_refused_as_aws_words_it(case):
    change, claims, options, message = REFUSALS[case]
    with account(configuration(IDP, **change), IDP, **options) as sts:
        assert assume(sts, IDP, **claims) == message


def test_an_issuer_without_its_slash_is_another_issuer():
    with account(configuration("https://tenant.auth0.com"), "https://tenant.auth0.com/") as sts:
        message = "No OpenIDConnect provider found in your account for https://tenant.auth0.com/"
        assert assume(sts, "https://tenant.auth0.com/") == message


def test_a_role_takes_the_duration_of_its_mappings_and_no_more():
    with account(configuration(IDP, session_duration=7200), IDP) as sts:
        assert assume(sts, IDP, duration="7200") == ""
        assert "MaxSessionDuration" in assume(sts, IDP, duration="7201")


def test_a_second_role_of_a_chain_takes_no_token():
    second = "arn:aws:iam::210987654321:role/Prod"
    mapping = {"claim": "x", "role_arn": ROLE, "chain": {"role_arn": second}}
    with account(configuration(IDP, role_mappings=[mapping]), IDP) as sts:
        assert assume(sts, IDP, second) == DENIED


@each_case(
    "claims",
    [
        {"sub": "a" * 256},
        {"https://aws.amazon.com/source_identity": "aws:x"},
        {"https://aws.amazon.com/source_identity": "a"},
        {"https://aws.amazon.com/source_identity": 1},
        {"https://aws.amazon.com/tags": []},
        {"https://aws.amazon.com/tags": {"principal_tags": []}},
        {"https://aws.amazon.com/tags": {"principal_tags": {"a": ["1", "2"]}}},
        {"https://aws.amazon.com/tags": {"principal_tags": {"a" * 129: ["1"]}}},
        {"https://aws.amazon.com/tags": {"principal_tags": {"a": ["1" * 257]}}},
        {"https://aws.amazon.com/tags": {"principal_tags": {str(number): ["1"] for number in range(51)}}},
        {"https://aws.amazon.com/tags": {"principal_tags": {}, "transitive_tag_keys": ["a"]}},
    ],
    ids=lambda claims: json.dumps(claims)[:70],
)
def test_a_claim_beyond_the_limits_of_sts_is_refused(claims):
    with account(configuration(IDP), IDP, session_tags=True, source_identity=True) as sts:
        assert assume(sts, IDP, **claims) not in ("", DENIED)


def test_what_a_token_says_of_its_session_is_kept_with_the_credential():
    with account(configuration(IDP), IDP, session_tags=True, source_identity=True) as sts:
        answer = ET.fromstring(ask(sts, IDP, **TAGS, **SOURCE).text)
        assert answer.findtext(f".//{XML}SourceIdentity") == "alice"
        credential = sts.get(f"/_control/credentials/{answer.findtext(f'.//{XML}AccessKeyId')}").json()
        assert (credential["tags"], credential["source_identity"]) == ({"Team": "a"}, "alice")


def test_a_provider_takes_at_most_100_client_ids():
    with pytest.raises(ValueError, match="at most 100 client ids"):
        StsSettings(providers={IDP: frozenset(map(str, range(101)))}, roles={})
