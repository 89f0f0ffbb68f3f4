"""Terraform and CloudFormation hold the same documents as the JSON."""

import json
import re

import pytest

from extproc.aws.documents import inline_policies, trust_policy
from extproc.aws.requirements import Account, FirstRole, Provider, Role
from extproc.aws.templates import as_cloudformation, as_terraform

PROVIDERS = tuple(
    Provider(issuer=url, client_ids=("cli",)) for url in ("https://a.example/", "https://a.example/b")
)
SECOND = "arn:aws:iam::210987654321:role/Prod"
ROLES = (
    Role(arn="arn:aws:iam::123456789012:role/team/Same", providers=PROVIDERS, second_roles=(SECOND,)),
    Role(arn="arn:aws:iam::123456789012:role/1-Number", providers=PROVIDERS[:1], max_session_duration=7200),
    Role(
        arn="arn:aws:iam::123456789012:role/Chained",
        first_roles=(FirstRole(SECOND, None, session_tags=False, source_identity=False),),
    ),
)
ACCOUNT = Account(partition="aws", account="123456789012", providers=PROVIDERS, roles=ROLES)


def test_terraform_has_every_provider_role_and_policy():
    found = json.loads(as_terraform(ACCOUNT, only_through_mcp=True))["resource"]
    providers = found["aws_iam_openid_connect_provider"]
    assert [entry["url"] for entry in providers.values()] == ["https://a.example/", "https://a.example/b"]
    for role, entry in zip(ROLES, found["aws_iam_role"].values(), strict=True):
        assert (entry["name"], entry["path"]) == (role.name, role.path)
        assert entry["max_session_duration"] == role.max_session_duration
        assert json.loads(entry["assume_role_policy"]) == trust_policy(role)
    policies = [json.loads(entry["policy"]) for entry in found["aws_iam_role_policy"].values()]
    expected = [
        document for role in ROLES for document in inline_policies(role, only_through_mcp=True).values()
    ]
    assert policies == expected


def test_names_and_dependencies_in_terraform_are_valid():
    found = json.loads(as_terraform(ACCOUNT, only_through_mcp=True))["resource"]
    names = {f"{kind}.{name}" for kind, entries in found.items() for name in entries}
    assert all(re.fullmatch(r"[a-z_]+\.[a-z][a-z0-9_]*", name) for name in names)
    depended = {
        name
        for entries in found.values()
        for entry in entries.values()
        for name in entry.get("depends_on", [])
    }
    assert depended < names


def test_a_dollar_in_a_subject_is_no_template_of_terraform():
    text = as_terraform(ACCOUNT, subject="${aws:username}-%{x}")
    assert "$${aws:username}-%%{x}" in text


def test_cloudformation_has_every_provider_and_role():
    resources = json.loads(as_cloudformation(ACCOUNT, only_through_mcp=True))["Resources"]
    assert all(re.fullmatch(r"[A-Za-z0-9]+", name) for name in resources)
    kinds = [entry["Type"] for entry in resources.values()]
    assert kinds == ["AWS::IAM::OIDCProvider"] * 2 + ["AWS::IAM::Role"] * 3
    for role, entry in zip(ROLES, list(resources.values())[2:], strict=True):
        properties = entry["Properties"]
        assert properties["AssumeRolePolicyDocument"] == trust_policy(role)
        assert properties["MaxSessionDuration"] == role.max_session_duration
        policies = {policy["PolicyName"]: policy["PolicyDocument"] for policy in properties["Policies"]}
        assert policies == inline_policies(role, only_through_mcp=True)
        assert set(entry.get("DependsOn", [])) <= set(resources)


def test_a_second_role_waits_for_the_first_of_its_account():
    first = FirstRole(ROLES[0].arn, None, session_tags=False, source_identity=False)
    second = Role(arn="arn:aws:iam::123456789012:role/A", first_roles=(first,))
    account = Account(partition="aws", account="123456789012", providers=(), roles=(ROLES[0], second))
    names = list(json.loads(as_cloudformation(account))["Resources"])
    assert json.loads(as_cloudformation(account))["Resources"][names[1]]["DependsOn"] == [names[0]]
    roles = json.loads(as_terraform(account))["resource"]["aws_iam_role"]
    assert list(roles.values())[1]["depends_on"] == [f"aws_iam_role.{next(iter(roles))}"]


def test_a_role_without_policies_and_providers_has_no_empty_elements():
    resources = json.loads(as_cloudformation(ACCOUNT))["Resources"]
    chained = list(resources.values())[-1]
    assert "DependsOn" not in chained
    assert "Policies" not in chained["Properties"]
    bare = Account(partition="aws", account="123456789012", providers=(), roles=ROLES[2:])
    assert list(json.loads(as_terraform(bare))["resource"]) == ["aws_iam_role"]


@pytest.mark.parametrize("render", [as_terraform, as_cloudformation])
def test_the_output_is_the_same_each_time(render):
    assert render(ACCOUNT) == render(ACCOUNT)
