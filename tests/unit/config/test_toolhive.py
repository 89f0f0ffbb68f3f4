"""ToolHive's resource as a configuration, in both of its versions."""

import json

import pytest
import yaml
from click.testing import CliRunner

from extproc.cli import main

ROLE = "arn:aws:iam::123456789012:role/"
OPTIONS = ["--issuer", "https://idp.example.com/", "--audience", "https://mcp.example.com/mcp"]


def resource(version="v1beta1", **changes):
    role = {"v1alpha1": "roleArn", "v1beta1": "fallbackRoleArn"}.get(version, "roleArn")
    sts = {
        "region": "eu-central-1",
        "service": "aws-mcp",
        role: ROLE + "Fallback",
        "roleClaim": "groups",
        "roleMappings": [
            {"claim": "admins", "roleArn": ROLE + "Admin", "priority": 1},
            {"claim": "", "matcher": '"sre" in claims["groups"]', "roleArn": ROLE + "SRE", "priority": 2},
        ],
        "sessionDuration": 1800,
        "sessionNameClaim": "email",
        **changes,
    }
    return {
        "apiVersion": f"toolhive.stacklok.dev/{version}",
        "kind": "MCPExternalAuthConfig",
        "metadata": {"name": "aws", "namespace": "mcp"},
        "spec": {"type": "awsSts", "awsSts": {name: value for name, value in sts.items() if value != ...}},
    }


@pytest.fixture
def run(tmp_path):
    def invoke(command, *documents, options=OPTIONS, extra=()):
        path = tmp_path / "auth.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        place = [str(path)] if command == "import-toolhive" else ["--config", str(path)]
        return CliRunner().invoke(main, [command, *place, *options, *extra])

    return invoke


@pytest.mark.parametrize("version", ["v1alpha1", "v1beta1"])
def test_both_versions_give_the_same_native_configuration(run, version):
    result = run("import-toolhive", resource(version))
    assert result.exit_code == 0, result.stderr
    assert yaml.safe_load(result.stdout) == {
        "issuers": [{"issuer": OPTIONS[1], "audiences": [OPTIONS[3]]}],
        "resource": {"url": OPTIONS[3]},
        "targets": [
            {
                "name": "default",
                "host": "aws-mcp.eu-central-1.api.aws",
                "region": "eu-central-1",
                "service": "aws-mcp",
            }
        ],
        "sts": {"region": "eu-central-1"},
        "role_claim": "groups",
        "session_duration": 1800,
        "session_name_claim": "email",
        "fallback_role_arn": ROLE + "Fallback",
        "role_mappings": [
            {"claim": "admins", "role_arn": ROLE + "Admin", "priority": 1},
            {"matcher": '"sre" in claims["groups"]', "role_arn": ROLE + "SRE", "priority": 2},
        ],
    }


def test_what_is_imported_is_a_valid_configuration(run, tmp_path):
    path = tmp_path / "native.yaml"
    path.write_text(run("import-toolhive", resource()).stdout)
    assert CliRunner().invoke(main, ["check", "--config", str(path)]).exit_code == 0


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["admins", "sre"], "Admin"),
        (["sre"], "SRE"),
        (["x"], "Fallback"),
        ([], "Fallback"),
        (None, "Fallback"),
    ],
)
def test_the_resource_itself_can_be_explained(run, tmp_path, groups, role):
    claims = {"sub": "1", "email": "alice@example.com", **({} if groups is None else {"groups": groups})}
    path = tmp_path / "claims.json"
    path.write_text(json.dumps(claims))
    result = run("explain", resource(), extra=["--claims", str(path), "--json"])
    assert json.loads(result.stdout)["role_arn"] == ROLE + role


def test_a_second_document_has_the_settings_that_the_resource_lacks(run):
    second = {
        "resource": {"url": "https://mcp.example.com/mcp"},
        "issuers": [{"issuer": "https://idp.example.com/", "audiences": ["a"]}],
        "targets": [{"name": "t", "host": "aws-mcp.us-east-1.api.aws"}],
    }
    assert run("check", resource(), second, options=[]).exit_code == 0
    assert run("check", second, resource(), options=[]).exit_code == 0


@pytest.mark.parametrize(
    ("documents", "options", "line"),
    [
        ([resource(fallbackRoleArn=ROLE + "A", roleArn=ROLE + "B")], OPTIONS, "spec.awsSts: roleArn and fallbackRoleArn exclude each other"),
        ([resource(tokenUrl="x")], OPTIONS, "spec.awsSts.tokenUrl: unknown key"),
        ([resource(region=...)], OPTIONS, "spec.awsSts.region: is required"),
        ([resource(service="execute-api")], OPTIONS, "--target: is needed, since the host of execute-api cannot be inferred"),
        ([resource(roleMappings=[{"claim": "a", "matcher": "true", "roleArn": ROLE + "A"}])], OPTIONS, "role_mappings[0]: exactly one of claim and matcher is required"),
        ([resource(roleMappings=["x"])], OPTIONS, "spec.awsSts.roleMappings[0]: must be a mapping"),
        ([resource("v2")], OPTIONS, "apiVersion: must be one of toolhive.stacklok.dev/v1alpha1, toolhive.stacklok.dev/v1beta1"),
        ([{**resource(), "spec": {"type": "bearerToken"}}], OPTIONS, "spec: must be of type awsSts, with awsSts"),
        ([resource(), resource()], OPTIONS, "document: one MCPExternalAuthConfig is expected; choose by --name one of: aws, aws"),
        ([resource()], OPTIONS[:2], "--audience: is needed with --issuer"),
        ([resource()], [], "resource: Field required; write it, as resource: {url: 'https://mcp.example.com/mcp'}"),
        ([resource(), {"session_duration": 900}], OPTIONS, "session_duration: is set by the MCPExternalAuthConfig already"),
        ([{"resource": {}}], OPTIONS, "document: --issuer, --audience, --target and --name are for a MCPExternalAuthConfig only"),
    ],
)  # fmt: skip
def test_an_unusable_resource_is_refused_with_the_path(run, documents, options, line):
    result = run("check", *documents, options=options)
    assert result.exit_code == 2
    assert line in result.stderr.splitlines()


def named(name, **changes):
    return {**resource(**changes), "metadata": {"name": name}}


OTHER_OBJECTS = [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {}},
    {**named("exchange"), "spec": {"type": "tokenExchange", "tokenExchange": {}}},
    None,
]


def test_lists_and_other_objects_are_accepted_as_kubectl_and_helm_print_them(run):
    expected = run("import-toolhive", resource()).stdout
    for kind in ("List", "MCPExternalAuthConfigList"):
        listed = {"apiVersion": "v1", "kind": kind, "items": [*OTHER_OBJECTS, resource()]}
        assert run("import-toolhive", listed).stdout == expected
        assert run("import-toolhive", {**listed, "items": [listed]}).stdout == expected
    assert run("import-toolhive", *OTHER_OBJECTS, resource()).stdout == expected
    assert run("check", *OTHER_OBJECTS, resource()).exit_code == 0


def test_of_several_resources_one_is_chosen_by_name(run):
    several = [named("one"), named("two", sessionDuration=900)]
    refused = run("check", *several)
    assert (refused.exit_code, refused.stderr) == (
        2,
        "document: one MCPExternalAuthConfig is expected; choose by --name one of: one, two\n",
    )
    chosen = run("import-toolhive", *several, options=[*OPTIONS, "--name", "two"])
    assert yaml.safe_load(chosen.stdout)["session_duration"] == 900
    assert run("check", *several, options=[*OPTIONS, "--name", "two"]).exit_code == 0
    assert run("check", *several, options=[*OPTIONS, "--name", "three"]).exit_code == 2


@pytest.mark.parametrize("command", ["check", "import-toolhive"])
def test_the_name_of_a_provider_is_accepted_with_a_note(run, command):
    result = run(command, resource(subjectProviderName="okta"))
    assert result.exit_code == 0
    assert "note: spec.awsSts.subjectProviderName: chooses among the logins" in result.stderr
    assert "subject" not in run("import-toolhive", resource(subjectProviderName="okta")).stdout
    assert "subjectProviderName" not in run(command, resource()).stderr


def test_an_expression_may_have_ten_thousand_characters_and_mappings_may_be_null(run):
    def with_matcher(length):
        text = '"' + "x" * (length - len('"" == claims.sub')) + '" == claims.sub'
        return run("check", resource(roleMappings=[{"matcher": text, "roleArn": ROLE + "A"}]))

    assert with_matcher(10_000).exit_code == 0
    assert with_matcher(10_001).exit_code == 2
    assert run("check", resource(roleMappings=None)).exit_code == 0


MATCHERS = [
    {"matcher": "claims.level > 3", "roleArn": ROLE + "Level", "priority": 1},
    {"claim": "admin", "roleArn": ROLE + "Admin", "priority": 2},
]


@pytest.mark.parametrize(
    ("claims", "ours"),
    [
        # Equal to ToolHive's mapper.
        ({"level": 5}, "Level"),
        ({"level": 3.5, "groups": ["admin"]}, "Level"),
        ({"groups": ["admin"]}, "Admin"),
        ({}, "Fallback"),
        # ToolHive wraps a string, skips a rule that fails, and goes on past a role claim that is no list.
        ({"groups": "admin"}, None),
        ({"level": "5", "groups": ["admin"]}, None),
        ({"level": None}, None),
        ({"groups": {"admin": 1}}, None),
        ({"groups": None}, None),
    ],
)
def test_where_results_differ_from_toolhives_the_result_is_a_denial(run, tmp_path, claims, ours):
    path = tmp_path / "claims.json"
    path.write_text(json.dumps({"sub": "1", "email": "a@example.com", **claims}))
    result = run("explain", resource(roleMappings=MATCHERS), extra=["--claims", str(path), "--json"])
    assert json.loads(result.stdout)["role_arn"] == (ours and ROLE + ours)
