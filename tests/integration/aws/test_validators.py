"""What ``extproc aws`` prints for many configurations passes cfn-lint, policies included; ``make aws-templates``."""

import os
import subprocess

import pytest

from extproc import config
from extproc.aws.requirements import accounts
from extproc.aws.templates import as_cloudformation
from extproc.idp.configuration import configuration
from extproc.idp.page import example_values
from extproc.idp.recipe import recipes

CFN_LINT = os.environ.get("CFN_LINT")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not CFN_LINT, reason="CFN_LINT is not set: make aws-templates"),
]
AUDIENCE = "https://mcp.example.com/mcp"
ROLE = "arn:aws:iam::123456789012:role/team/Developer"
CHAIN = {"role_arn": "arn:aws:iam::123456789012:role/Second", "external_id": "gateway-1"}
OPTIONS = {
    "plain": ({}, {}, {}),
    "several issuers": ({"issuers": ["https://a.example.com/x", "https://b.example.com/"]}, {}, {}),
    "a path and a slash": ({"issuers": ["https://login.example.com/Tenant/v2.0/"]}, {}, {}),
    "tags and source identity": ({}, {"session_tags": True, "source_identity": True}, {}),
    "a pattern of subjects": ({}, {}, {"subject": "${aws:username}-*"}),
    "only through MCP": ({}, {}, {"only_through_mcp": True}),
    "a chain in one account": ({"chain": CHAIN}, {}, {"only_through_mcp": True}),
    "a long session": ({"session_duration": 43200}, {}, {}),
    "China": ({"role": "arn:aws-cn:iam::123456789012:role/Developer"}, {}, {}),
}


def of_options(name):
    change, needs, shown = OPTIONS[name]
    issuers = change.get("issuers", ["https://idp.example.com"])
    mapping = {"claim": "developers", "role_arn": change.get("role", ROLE)}
    document = {
        "resource": {"url": AUDIENCE},
        "issuers": [
            {"issuer": issuer, "audiences": [AUDIENCE], "required_claims": {"azp": ["cli", "app"]}}
            for issuer in issuers
        ],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "session_duration": change.get("session_duration", 3600),
        "role_mappings": [{**mapping, **({"chain": change["chain"]} if "chain" in change else {})}],
    }
    (account,) = accounts(config.validate(document), **needs)
    return as_cloudformation(account, **shown)


def of_recipe(recipe, way):
    settings = config.parse(configuration(recipe, way, example_values(recipe, way)))
    (account,) = accounts(settings)
    return as_cloudformation(account)


def templates():
    found = {name.replace(" ", "-"): of_options(name) for name in OPTIONS}
    for recipe in recipes().values():
        for way in recipe.ways:
            if way.refused is None:
                found[f"{recipe.name}-{way.name}"] = of_recipe(recipe, way)
    return found


def lint(*paths):
    done = subprocess.run(
        [CFN_LINT, "--format", "parseable", *paths], capture_output=True, text=True, check=False
    )
    return done.stdout


def test_every_template_passes(tmp_path):
    paths = []
    for name, text in templates().items():
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(text)
    assert len(paths) > 20
    assert lint(*paths) == ""


@pytest.mark.parametrize(
    ("place", "fault", "rule"),
    [
        ("ClientIdList", "ClientIds", "E3002"),
        ('"MaxSessionDuration": 3600', '"MaxSessionDuration": 60', "E3034"),
        ('"Action"', '"Acton"', "E3530"),
        ('"Allow"', '"Permit"', "E3530"),
    ],
)
def test_a_fault_would_be_found(tmp_path, place, fault, rule):
    path = tmp_path / "template.json"
    text = of_options("plain")
    assert place in text
    path.write_text(text.replace(place, fault))
    assert rule in lint(path)
