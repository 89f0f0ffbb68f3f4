"""What explain says of a token's claims beforehand is what the strict STS does."""

import asyncio
import json
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from extproc.aws.tokens import objections
from extproc.config.document import validate
from extproc.explain.run import environment_of, explain_claims
from support.emulated_account import AUDIENCE, ROLE, account, present, refusal
from support.tables import each_case
from support.tokens import mint

IDP = "https://idp.example.com"
PATH = "https://login.example.com/Tenant-1/v2.0"
SLASH = "https://tenant.example.com/"
AZP = {"required_claims": {"azp": ["cli", "app"]}}


def configuration(issuer=IDP, **entry):
    return validate(
        {
            "resource": {"url": AUDIENCE},
            "issuers": [{"issuer": issuer, "audiences": [AUDIENCE], **entry}],
            "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
            "fallback_role_arn": ROLE,
        }
    )


def token(issuer=IDP, **changes):
    now = int(time.time())
    usual = {"iss": issuer, "sub": "alice", "aud": AUDIENCE, "iat": now, "exp": now + 600}
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def explained(settings, claims):
    async def explain():
        return await explain_claims(environment_of(settings, time.time), json.dumps(claims).encode(), None)

    return asyncio.run(explain())


def answered(settings, claims):
    """Code and message of STS."""
    with account(settings, claims["iss"]) as sts:
        return refusal(present(sts, mint(claims)))


TAKEN = {
    "a plain token": ({}, {}),
    "several audiences": ({}, {"aud": ["other", AUDIENCE]}),
    "a path": ({"issuer": PATH}, {}),
    "a slash at the end": ({"issuer": SLASH}, {}),
    "azp that equals aud": ({}, {"azp": AUDIENCE}),
    "azp of a known client": (AZP, {"azp": "app"}),
    "azp of a known client, several audiences": (AZP, {"azp": "app", "aud": [AUDIENCE, "other"]}),
    "azp of nobody": ({}, {"azp": None}),
    "client_id, which STS does not read": ({}, {"client_id": "cli"}),
}


@each_case("name", TAKEN)
def test_a_token_without_objections_is_taken(name):
    entry, changes = TAKEN[name]
    settings = configuration(**entry)
    claims = token(settings.issuers[0].issuer, **changes)
    assert list(objections(settings.issuers[0], claims)) == []
    assert explained(settings, claims).notes == ()
    assert answered(settings, claims) == ("", "")


REFUSED = {
    "azp unlike aud": (
        {},
        {"azp": "cli"},
        "the token has azp, the client",
        "list the clients in required_claims.azp",
    ),
    "azp unlike aud, with a path": ({"issuer": PATH}, {"azp": "cli"}, "the token has azp", "docs/idp"),
    "azp of a machine (a number)": ({}, {"azp": 7}, "the token has azp", "required_claims.azp"),
    "no iat": ({}, {"iat": None}, "the token has no iat", "let the provider add iat"),
    "another case of the host": (
        {},
        {"aud": AUDIENCE.replace("mcp.example", "MCP.example")},
        "aud is spelled otherwise",
        "write the token's spelling into audiences",
    ),
    "a slash at the end of aud": (
        {"ignore_audience_slash": True},
        {"aud": [f"{AUDIENCE}/", "other"]},
        "aud is spelled otherwise",
        "write the token's spelling into audiences",
    ),
    "session tags": (
        {},
        {"https://aws.amazon.com/tags": {"principal_tags": {"Team": ["a"]}}},
        "trust policies must allow sts:TagSession",
        "`extproc aws --session-tags` prints",
    ),
    "a source identity": (
        {},
        {"https://aws.amazon.com/source_identity": "alice"},
        "trust policies must allow sts:SetSourceIdentity",
        "`extproc aws --source-identity` prints",
    ),
}


@each_case("name", REFUSED)
def test_an_objection_names_what_sts_refuses_and_the_next_step(name):
    entry, changes, cause, next_step = REFUSED[name]
    settings = configuration(**entry)
    claims = token(settings.issuers[0].issuer, **changes)
    assert answered(settings, claims) != ("", "")
    explanation = explained(settings, claims)
    assert explanation.allowed  # here: STS is not asked
    (note,) = explanation.notes
    assert cause in note
    assert next_step in note
    assert "cli" not in note.replace("client", "")  # no value of a claim


DENIED = {
    "no aud": ({}, {"aud": None}, None),  # claims alone may lack it; a token may not
    "aud that is a number": ({}, {"aud": 7}, "which STS refuses too; clients must ask"),
    "an empty list": ({}, {"aud": []}, "aud is an empty list, which STS refuses too; clients must ask"),
    "another resource": ({}, {"aud": "other"}, "or audiences must have the token's aud"),
    "exp as a numeric string": (
        {},
        {"exp": "1790000000"},
        "exp is not an integer timestamp; STS takes no other",
    ),
    "nbf as a fraction": (
        {},
        {"nbf": 1790000000.5},
        "nbf is not an integer timestamp; STS takes no other",
    ),
    "a client that is not listed": (
        AZP,
        {"azp": "new"},
        "STS compares azp: list the client in required_claims",
    ),
    "no client": (AZP, {}, "claim azp is missing"),
    "no slash at the end": (
        {"issuer": SLASH},
        {"iss": SLASH[:-1]},
        f"which is {SLASH}: a slash at the end counts",
    ),
    "a slash at the end": (
        {"issuer": PATH},
        {"iss": f"{PATH}/"},
        f"which is {PATH}: a slash at the end counts",
    ),
    "another case in the path": ({"issuer": PATH}, {"iss": PATH.lower()}, "iss is no configured issuer"),
}


@each_case("name", DENIED)
def test_a_token_that_is_denied_here_is_denied_by_sts_too(name):
    entry, changes, detail = DENIED[name]
    settings = configuration(**entry)
    claims = token(settings.issuers[0].issuer, **changes)
    if detail is not None:
        assert detail in explained(settings, claims).outcome.detail
    with account(settings, settings.issuers[0].issuer) as sts:
        assert refusal(present(sts, mint(claims))) != ("", "")


def test_nothing_is_said_of_a_token_that_sts_does_not_get():
    settings = configuration(sts_token_header="x-id-token")
    assert list(objections(settings.issuers[0], token(azp="cli"))) == []


NAMES = st.sampled_from([AUDIENCE, f"{AUDIENCE}/", "HTTPS://mcp.example.com/mcp", "cli", "app", "other", ""])
SHAPES = st.fixed_dictionaries(
    {"aud": NAMES | st.lists(NAMES, max_size=3)},
    optional={"azp": NAMES | st.none() | st.integers(0, 1), "iat": st.none(), "client_id": NAMES},
)


@pytest.mark.parametrize("entry", [{}, AZP, {"ignore_audience_slash": True}], ids=["plain", "azp", "slash"])
def test_whatever_passes_here_is_objected_to_exactly_if_sts_refuses_it(entry):
    settings = configuration(**entry)
    with account(settings, IDP) as sts:

        @hypothesis.settings(max_examples=60, deadline=None)
        @hypothesis.given(SHAPES)
        @hypothesis.example({"aud": "HTTPS://mcp.example.com/mcp", "azp": "cli"})
        def compare(changes):
            claims = token(**changes)
            if explained(settings, claims).allowed:
                taken = refusal(present(sts, mint(claims))) == ("", "")
                assert taken == (list(objections(settings.issuers[0], claims)) == [])

        compare()
