"""Terraform (JSON syntax) and CloudFormation (JSON) for the OIDC providers and roles of one account."""

import hashlib
import json
import re
from typing import Any, Final

from extproc.aws.documents import Document, inline_policies, trust_policy
from extproc.aws.requirements import Account, Role

_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9]+")


def as_terraform(account: Account, *, subject: str | None = None, only_through_mcp: bool = False) -> str:
    """Return a ``.tf.json`` file: providers, roles and inline policies."""
    providers = {
        _label(provider.issuer): {"url": provider.issuer, "client_id_list": list(provider.client_ids)}
        for provider in account.providers
    }
    roles, policies = {}, {}
    for role in account.roles:
        label = _label(role.arn)
        roles[label] = {
            "name": role.name,
            "path": role.path,
            "max_session_duration": role.max_session_duration,
            "assume_role_policy": _compact(trust_policy(role, subject=subject)),
            "depends_on": [
                *(f"aws_iam_openid_connect_provider.{_label(issuer)}" for issuer in _created(role)),
                *(f"aws_iam_role.{_label(arn)}" for arn in _first_roles(account, role)),
            ],
        }
        for name, document in inline_policies(role, only_through_mcp=only_through_mcp).items():
            policies[f"{label}_{_slug(name)}"] = {
                "name": name,
                "role": role.name,
                "policy": _compact(document),
                "depends_on": [f"aws_iam_role.{label}"],
            }
    resources = {
        "aws_iam_openid_connect_provider": providers,
        "aws_iam_role": roles,
        "aws_iam_role_policy": policies,
    }
    kept = {kind: _without_templates(found) for kind, found in resources.items() if found}
    return json.dumps({"resource": kept}, indent=2) + "\n"


def as_cloudformation(account: Account, *, subject: str | None = None, only_through_mcp: bool = False) -> str:
    """Return a template; the stack needs ``CAPABILITY_NAMED_IAM``."""
    resources: Document = {
        _logical("Provider", provider.issuer): {
            "Type": "AWS::IAM::OIDCProvider",
            "Properties": {"Url": provider.issuer, "ClientIdList": list(provider.client_ids)},
        }
        for provider in account.providers
    }
    for role in account.roles:
        resources[_logical("Role", role.arn)] = _stack_role(
            account, role, subject, only_through_mcp=only_through_mcp
        )
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}
    return json.dumps(template, indent=2) + "\n"


def _created(role: Role) -> list[str]:
    """Return the issuers of the role's IAM OIDC providers, which must exist before it."""
    return [provider.issuer for provider in role.providers if not provider.built_in]


def _first_roles(account: Account, role: Role) -> list[str]:
    """Return the first roles of chains that must exist before the role, and are in the same account."""
    earlier = {entry.arn for entry in account.roles[: account.roles.index(role)]}
    return [arn for arn in dict.fromkeys(first.arn for first in role.first_roles) if arn in earlier]


def _stack_role(account: Account, role: Role, subject: str | None, *, only_through_mcp: bool) -> Document:
    properties: Document = {
        "RoleName": role.name,
        "Path": role.path,
        "MaxSessionDuration": role.max_session_duration,
        "AssumeRolePolicyDocument": trust_policy(role, subject=subject),
    }
    policies = inline_policies(role, only_through_mcp=only_through_mcp)
    if policies:
        properties["Policies"] = [
            {"PolicyName": name, "PolicyDocument": document} for name, document in policies.items()
        ]
    resource: Document = {"Type": "AWS::IAM::Role", "Properties": properties}
    needed = [
        *(_logical("Provider", issuer) for issuer in _created(role)),
        *(_logical("Role", arn) for arn in _first_roles(account, role)),
    ]
    if needed:
        resource["DependsOn"] = needed
    return resource


def _label(identifier: str) -> str:
    """Return a Terraform name: the end of an issuer or ARN, and a digest that keeps equal ends apart."""
    return f"{_slug(identifier.partition('//')[2] or identifier.rpartition('/')[2])}_{_digest(identifier)}"


def _logical(kind: str, identifier: str) -> str:
    """Return a logical id of CloudFormation, which has letters and digits only."""
    return f"{kind}{_digest(identifier)}"


def _slug(name: str) -> str:
    slug = _NOT_IN_A_NAME.sub("_", name.lower()).strip("_")
    return slug if slug[:1].isalpha() else f"r_{slug}"


def _digest(identifier: str) -> str:
    return hashlib.sha256(identifier.encode()).hexdigest()[:8]


def _compact(document: Document) -> str:
    return json.dumps(document, separators=(",", ":"))


def _without_templates(value: Any) -> Any:
    """Escape what Terraform would take for a template: ``${`` and ``%{`` in any string."""
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, list):
        return [_without_templates(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _without_templates(entry) for key, entry in value.items()}
    return value
