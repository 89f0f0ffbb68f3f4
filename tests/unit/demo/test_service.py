import json

import pytest
from click.testing import CliRunner

from extproc.demo import service, sts


@pytest.fixture
def served(monkeypatch):
    calls = []
    monkeypatch.setattr(service, "serve", lambda app, listen, **options: calls.append((app, listen, options)))
    return calls


def run(*arguments):
    return CliRunner().invoke(service.main, arguments)


@pytest.mark.parametrize("name", ["idp", "sts", "mcp"])
def test_each_service_starts_with_its_defaults(served, name):
    result = run(name, "--listen", "127.0.0.1:0")
    assert result.exit_code == 0, result.output
    assert served[0][1] == ("127.0.0.1", 0)


def test_roles_may_be_repeated_to_add_patterns(served, monkeypatch):
    made = []
    monkeypatch.setattr(sts, "create_app", made.append)
    role = "arn:aws:iam::123456789012:role/A=B"
    arguments = [
        "--issuer",
        "https://a",
        "--issuer",
        "https://b",
        "--audience",
        "x",
        "--role",
        f"{role}=a*",
        "--role",
        f"{role}=b",
    ]
    result = run("sts", "--listen", "[::1]:9001", *arguments)
    assert result.exit_code == 0, result.output
    assert served[0][1] == ("::1", 9001)
    assert made[0].providers == {"https://a": frozenset({"x"}), "https://b": frozenset({"x"})}
    assert made[0].roles[role].subjects == ("a*", "b")


def test_the_output_of_the_aws_command_is_the_account(served, monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(sts, "create_app", made.append)
    provider = {"url": "https://tenant.auth0.com/", "client_ids": ["cli"]}
    path = tmp_path / "account.json"
    path.write_text(json.dumps({"accounts": [{"oidc_providers": [provider], "roles": []}]}))
    result = run("sts", "--listen", "h:1", "--aws", str(path), "--credential-lifetime", "5")
    assert result.exit_code == 0, result.output
    assert made[0].providers == {"https://tenant.auth0.com/": frozenset({"cli"})}
    assert (made[0].roles, made[0].credential_lifetime) == ({}, 5)


@pytest.mark.parametrize("listen", ["", "9000", "host:", "host:x", "host:99999", ":1"])
def test_a_bad_address_is_a_usage_error(served, listen):
    assert run("idp", "--listen", listen).exit_code == 2
    assert not served


@pytest.mark.parametrize("role", ["arn:aws:iam::123456789012:role/A", "x=y", "arn:aws:iam::1:role/A="])
def test_a_bad_role_is_a_usage_error(served, role):
    assert run("sts", "--listen", "h:1", "--role", role).exit_code == 2
