"""``extproc aws``: its formats, its check, its exit statuses."""

import json
import shlex

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main

AUDIENCE = "https://mcp.example.com/mcp"
ROLE = "arn:aws:iam::123456789012:role/team/Developer"
SECOND = "arn:aws:iam::210987654321:role/Prod"


@pytest.fixture
def run(tmp_path):
    mapping = {"claim": "x", "role_arn": ROLE, "chain": {"role_arn": SECOND, "external_id": "tenant-1"}}
    document = {
        "resource": {"url": AUDIENCE},
        "issuers": [{"issuer": "https://tenant.auth0.com/", "audiences": [AUDIENCE]}],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "role_mappings": [mapping],
    }
    path = tmp_path / "extproc.yaml"
    path.write_text(yaml.safe_dump(document))
    return lambda *arguments: CliRunner().invoke(main, ["aws", "--config", str(path), *arguments])


def test_the_output_is_the_same_each_time(run):
    assert run().stdout == run("--format", "json").stdout
    assert run("--format", "cli").stdout == run("--format", "cli").stdout


def test_a_note_on_azp_goes_to_standard_error(run):
    result = run()
    assert json.loads(result.stdout)["accounts"][0]["account"] == "123456789012"
    assert result.stderr.startswith("note: https://tenant.auth0.com/: STS takes azp")


def commands(script):
    return [shlex.split(line) for line in script.replace("\\\n", "").splitlines() if line.startswith("aws ")]


def test_the_commands_hold_what_the_json_holds(run):
    found = commands(run("--format", "cli").stdout)
    assert [command[2] for command in found] == [
        "create-open-id-connect-provider",
        "create-role",
        "put-role-policy",
        "create-role",
    ]
    assert found[0][3:] == ["--url", "https://tenant.auth0.com/", "--client-id-list", AUDIENCE]
    role = dict(zip(found[1][3::2], found[1][4::2], strict=True))
    assert (role["--role-name"], role["--path"], role["--max-session-duration"]) == (
        "Developer",
        "/team/",
        "3600",
    )
    (first, second) = json.loads(run().stdout)["accounts"]
    assert json.loads(role["--assume-role-policy-document"]) == first["roles"][0]["trust_policy"]
    assert json.loads(found[2][-1]) == first["roles"][0]["inline_policies"]["extproc-chain"]
    assert json.loads(found[3][-1]) == second["roles"][0]["trust_policy"]


def test_one_account_can_be_chosen(run):
    (account,) = json.loads(run("--account", "210987654321").stdout)["accounts"]
    assert account["oidc_providers"] == []
    assert run("--account", "999999999999").exit_code == 2


def checked(run, tmp_path, document, *arguments):
    path = tmp_path / "policy.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return run("--check", str(path), *arguments)


def test_what_is_printed_passes_the_check(run, tmp_path):
    for account in json.loads(run().stdout)["accounts"]:
        for role in account["roles"]:
            bare = checked(run, tmp_path, role["trust_policy"], "--role", role["arn"])
            assert (bare.exit_code, bare.output) == (0, "")
            described = {
                "Role": {
                    "Arn": role["arn"],
                    "MaxSessionDuration": 3600,
                    "AssumeRolePolicyDocument": role["trust_policy"],
                }
            }
            assert checked(run, tmp_path, described).exit_code == 0


def test_a_finding_is_a_line_and_exit_status_1(run, tmp_path):
    policy = json.loads(run().stdout)["accounts"][0]["roles"][0]["trust_policy"]
    del policy["Statement"][0]["Condition"]
    result = checked(run, tmp_path, policy, "--role", ROLE)
    assert (result.exit_code, result.stdout) == (
        1,
        "too wide: no condition limits tenant.auth0.com/:aud\n",
    )


def test_a_provider_is_checked_too(run, tmp_path):
    provider = {"Url": "tenant.auth0.com", "ClientIDList": [AUDIENCE]}
    result = checked(run, tmp_path, provider, "--account", "123456789012")
    assert result.exit_code == 1
    assert "STS compares it exactly with tenant.auth0.com/" in result.stdout
    assert "--account is required" in checked(run, tmp_path, provider).stderr
    assert checked(run, tmp_path, {**provider, "ClientIDList": 1}, "--account", "123456789012").exit_code == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Role": 1}', "[" * 100_000])
def test_what_is_no_policy_is_exit_status_2(run, tmp_path, text):
    assert checked(run, tmp_path, text, "--role", ROLE).exit_code == 2


def test_the_role_of_a_bare_policy_must_be_named_and_known(run, tmp_path):
    assert "--role is required, one of" in checked(run, tmp_path, {"Statement": []}).stderr
    unknown = checked(run, tmp_path, {"Statement": []}, "--role", "arn:aws:iam::123456789012:role/X")
    assert "is not a role of the configuration" in unknown.stderr
    assert run("--check", str(tmp_path / "absent.json")).exit_code == 2


@pytest.mark.parametrize(
    ("form", "top"),
    [("terraform", ["resource"]), ("cloudformation", ["AWSTemplateFormatVersion", "Resources"])],
)
def test_a_file_for_one_account_needs_to_know_which(run, form, top):
    assert list(json.loads(run("--format", form, "--account", "123456789012").stdout)) == top
    result = run("--format", form)
    assert result.exit_code == 2
    assert "one of 123456789012, 210987654321" in result.stderr
