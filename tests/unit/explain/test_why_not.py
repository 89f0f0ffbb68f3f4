"""``extproc explain --why-not``: what would have to be different for a role."""

import json

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main

ROLE = "arn:aws:iam::123456789012:role/"
SETTINGS = {
    "resource": {"url": "https://mcp.example.com/mcp"},
    "issuers": [
        {"issuer": "https://idp.example.com/", "audiences": ["https://mcp.example.com/mcp"]},
        {"issuer": "https://partner.example.net", "audiences": ["https://mcp.example.com/mcp"]},
    ],
    "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
    "role_mappings": [
        {"name": "low", "matcher": "claims.level < 3", "effect": "deny"},
        {
            "name": "partners",
            "matcher": "true",
            "issuers": ["https://partner.example.net"],
            "role_arn": ROLE + "P",
        },
        {"name": "admins", "claim": "admins", "role_arn": ROLE + "Admin", "require_scopes": ["aws:admin"]},
        {
            "name": "dev",
            "matcher": '"dev" in claims.groups && (claims.team == "a" || claims.team == "b" && claims.mfa)',
            "role_arn": ROLE + "First",
            "chain": {"role_arn": ROLE + "Dev"},
        },
        {
            "name": "work",
            "matcher": "has(claims.work)",
            "role_arn": ROLE + "First",
            "chain": {
                "role_arn": "arn:aws:iam::{account}:role/W",
                "account": "claims.work",
                "accounts": ["111111111111"],
            },
        },
    ],
    "ceilings": [{"name": "agents", "matcher": "agents != []", "max_mapping": "work"}],
    "fallback_role_arn": ROLE + "Guest",
}
USER = {"iss": "https://idp.example.com/", "sub": "secret-name", "groups": ["secret-group"], "level": 5}
MATCHES = {
    "the short form": ("admins", {}, ['claims.groups does not have "admins"']),
    "a role": (ROLE + "Admin", {}, ['claims.groups does not have "admins"']),
    "scopes": ("admins", {"groups": ["admins"]}, ["the token lacks scope aws:admin"]),
    "an issuer": ("partners", {}, ["for tokens of https://partner.example.net only"]),
    "alternatives": (
        "dev",
        {"groups": ["dev"], "team": "b", "mfa": False},
        ['claims.team == "a" is false; or claims.mfa is false'],
    ),
    "missing claims": (
        ROLE + "Dev",
        {},
        [
            '"dev" in claims.groups is false',
            "claims.team is missing; or claims.team is missing and claims.mfa is missing",
        ],
    ),
    "an error": (
        "dev",
        {"groups": 7, "team": "a"},
        [
            '"dev" in claims.groups: no in for string, int',
            "mapping admins is an error (the role claim is not a list)",
        ],
    ),
    "an account": ("arn:aws:iam::111111111111:role/W", {}, ["has(claims.work) is false"]),
    "a deny rule": (
        "work",
        {"work": "111111111111", "level": 1},
        ["mapping low denies first"],
    ),
    "a missing claim of a deny rule": (
        "work",
        {"work": "111111111111", "level": None},
        ["mapping low"],
    ),
    "an earlier mapping": (
        "work",
        {"work": "111111111111", "groups": ["dev"], "team": "a"},
        ["mapping dev matches first"],
    ),
    "a ceiling": (
        "dev",
        {"groups": ["dev"], "team": "a", "act": {"sub": "bot"}, "work": "111111111111"},
        ["ceiling agents lowers it to mapping work"],
    ),
    "the fallback role": (ROLE + "Guest", {"groups": ["dev"], "team": "a"}, ["mapping dev matches first"]),
}


@pytest.fixture
def explain(tmp_path):
    (tmp_path / "extproc.yaml").write_text(yaml.safe_dump(SETTINGS))

    def run(role, claims, *options):
        (tmp_path / "claims.json").write_text(json.dumps({**USER, **claims}))
        arguments = ["--config", str(tmp_path / "extproc.yaml"), "--claims", str(tmp_path / "claims.json")]
        return CliRunner().invoke(main, ["explain", *arguments, "--why-not", role, *options])

    return run


@pytest.mark.parametrize("name", MATCHES)
def test_what_is_missing_for_a_role_is_named_and_no_value(explain, name):
    role, claims, expected = MATCHES[name]
    result = explain(role, claims, "--json")
    (way,) = json.loads(result.output)["why_not"]["ways"]
    reasons = [*way["needs"], *way["before"], *way["after"]]
    assert len(reasons) == len(expected), reasons
    assert all(reason.startswith(wanted) for reason, wanted in zip(reasons, expected, strict=True)), reasons
    assert "secret-group" not in str(way)
    assert "why not" in explain(role, claims).output


def test_a_role_that_is_given_and_one_that_no_mapping_gives(explain):
    given = explain("dev", {"groups": ["dev"], "team": "a"}, "--json")
    assert json.loads(given.output)["why_not"]["note"] == "it is given, by mapping dev"
    assert "fallback_role_arn" in explain(ROLE + "Guest", {}).output
    unknown = json.loads(explain("admin", {}, "--json").output)["why_not"]
    assert (unknown["ways"], "did you mean 'admins'" in unknown["note"]) == ([], True)


def test_a_token_that_is_refused_never_came_to_the_policy(explain):
    answer = json.loads(explain("dev", {"iss": "https://other.example"}, "--json").output)
    assert answer["why_not"]["note"] == "the policy was not asked"
