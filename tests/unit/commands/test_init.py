"""``extproc init``: what it writes, asks and refuses."""

import pytest
from click.testing import CliRunner

from extproc import config
from extproc.authn.keys import KeyDocument
from extproc.authn.provider import HttpDocuments
from extproc.cli import main
from extproc.commands import init as command
from extproc.idp.page import EXAMPLE
from extproc.idp.recipe import recipes
from support.tables import each_case

OKTA = [
    "--idp",
    "okta",
    "--domain",
    "acme.okta.com",
    "--resource",
    EXAMPLE["resource"],
    "--role",
    EXAMPLE["role"],
]
OFFLINE = ["--offline"]


def run(*arguments, text=None):
    return CliRunner().invoke(main, ["init", *arguments], input=text)


@pytest.mark.parametrize("recipe", recipes().values(), ids=lambda recipe: recipe.name)
def test_what_is_written_passes_the_check(recipe, tmp_path):
    path, way = tmp_path / "extproc.yaml", recipe.way()
    secret = tmp_path / "secret"
    secret.write_text("not a secret")
    given = {**EXAMPLE, **recipe.example, "secret_file": str(secret)}
    asked = [name for name in recipe.questions(way) if name in given]
    answers = [part for name in asked for part in (f"--{name.replace('_', '-')}", given[name])]
    result = run("--idp", recipe.name, *answers, *OFFLINE, "--output", str(path))
    assert result.exit_code == 0, result.output
    checked = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert checked.exit_code == 0, checked.output
    warnings = [line for line in checked.output.splitlines() if line.startswith("warning")]
    # Their tokens have an application's id as aud, whatever clients ask for.
    assert all("MCP clients ask for" in line for line in warnings), warnings
    assert bool(warnings) == (recipe.name in {"entra-v2", "google"})


def test_the_configuration_goes_to_standard_output_and_the_next_steps_to_standard_error():
    result = run(*OKTA, *OFFLINE)
    assert config.parse(result.stdout).issuers[0].issuer == "https://acme.okta.com/oauth2/default"
    for name in ("check", "aws", "doctor", "envoy"):
        assert f"extproc {name} --config extproc.yaml" in result.stderr


def test_a_file_that_exists_is_not_replaced(tmp_path):
    path = tmp_path / "extproc.yaml"
    path.write_text("mine")
    result = run(*OKTA, *OFFLINE, "--output", str(path))
    assert (result.exit_code, path.read_text()) == (2, "mine")
    assert "exists; --force replaces it" in result.stderr
    assert run(*OKTA, *OFFLINE, "--output", str(path), "--force").exit_code == 0
    assert path.read_text() != "mine"


def test_every_provider_and_way_that_works_is_listed():
    shown = run("--list").stdout
    for recipe in recipes().values():
        assert f"{recipe.name} " in shown
    assert "--way known-clients" in shown
    assert "org-server" not in shown


@each_case(
    ("arguments", "message"),
    [
        ([], "--idp is required: one of auth0, "),
        (["--idp", "oktaa"], "--idp: 'oktaa' has no recipe"),
        (["--idp", "okta"], "--domain is required: the provider's host"),
        ([*OKTA, "--way", "org-server"], "--way: okta has direct"),
        ([*OKTA, "--role", "arn:aws:iam::1:role/x", *OFFLINE], "fallback_role_arn"),
    ],
)
def test_what_is_missing_or_unusable_is_named(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.fixture
def metadata(monkeypatch):
    """Replaces the network: the documents of providers, by URL."""
    documents = {}

    async def get(_self, url, *, allow_http):
        assert url.startswith("https:") or allow_http
        return KeyDocument(documents[url])

    monkeypatch.setattr(HttpDocuments, "get", get)
    return documents


WELL_KNOWN = "https://acme.okta.com/oauth2/default/.well-known/openid-configuration"


@pytest.mark.parametrize(
    ("document", "issuer", "said"),
    [
        (
            b'{"issuer": "https://acme.okta.com/oauth2/default", "jwks_uri": "https://k"}',
            "",
            "# jwks_uri: https://k ",
        ),
        (
            b'{"issuer": "https://acme.okta.com/oauth2/default/", "jwks_uri": "https://k"}',
            "/",
            "the provider spells",
        ),
        (
            b'{"issuer": "https://other.okta.com", "jwks_uri": "https://k"}',
            "",
            "is another one, 'https://other.okta",
        ),
        (
            b'{"issuer": "https://acme.okta.com/oauth2/default", "jwks_uri": "k\\nx: 1"}',
            "",
            "jwks_uri is missing",
        ),
        (b"<html>", "", "not compared"),
    ],
)
def test_the_issuer_is_compared_with_the_providers_metadata(metadata, document, issuer, said):
    metadata[WELL_KNOWN] = document
    result = run(*OKTA)
    assert config.parse(result.stdout).issuers[0].issuer == f"https://acme.okta.com/oauth2/default{issuer}"
    assert said in result.output


def test_a_terminal_is_asked_for_what_is_missing(monkeypatch):
    monkeypatch.setattr(command, "_is_terminal", lambda: True)
    answers = [
        "okta",
        "direct",
        "acme okta",
        "acme.okta.com",
        "",
        "",
        "https://mcp.example.com/mcp",
        "",
        EXAMPLE["role"],
        "",
        "",
    ]
    result = run(*OFFLINE, text="\n".join(answers) + "\n")
    assert "--domain: 'acme okta' is not usable" in result.stderr
    settings = config.parse(result.stdout)
    assert settings.issuers[0].issuer == "https://acme.okta.com/oauth2/default"
    assert settings.fallback_role_arn == EXAMPLE["role"]


def test_one_is_written_for_the_demos_services():
    result = run(
        *(
            "--idp",
            "generic",
            "--issuer",
            "http://localhost:9000",
            "--resource",
            "http://localhost:10000/mcp",
        ),
        *("--role", "arn:aws:iam::123456789012:role/DemoDeveloper", "--group", "developers", "--offline"),
        *("--sts-url", "http://127.0.0.1:9001", "--target-url", "http://127.0.0.1:9002"),
    )
    settings = config.parse(result.stdout)
    assert settings.sts.endpoint_url == "http://127.0.0.1:9001"
    assert settings.targets[0].endpoint_url == "http://127.0.0.1:9002"
