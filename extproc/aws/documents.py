"""IAM policy documents of a role: its trust policy and the permissions that extproc itself needs."""

import json
from typing import Any, Final

from extproc.aws.requirements import Account, Provider, Role

VERSION: Final = "2012-10-17"
WEB_IDENTITY: Final = "sts:AssumeRoleWithWebIdentity"
ASSUME_ROLE: Final = "sts:AssumeRole"
TAG_SESSION: Final = "sts:TagSession"
SET_SOURCE_IDENTITY: Final = "sts:SetSourceIdentity"
CHAIN_POLICY: Final = "extproc-chain"
ONLY_THROUGH_MCP: Final = "extproc-only-through-aws-mcp"

Document = dict[str, Any]


def trust_policy(role: Role, *, subject: str | None = None) -> Document:
    """Return the trust policy: a statement for each provider, and for each first role of a chain.

    Args:
        role: the role.
        subject: a pattern of ``sub`` (``StringLike``); None admits every user of the provider.
    """
    statements: list[Document] = [
        {
            "Effect": "Allow",
            "Principal": {"Federated": role.provider_arn(provider)},
            "Action": actions(WEB_IDENTITY, tags=provider.session_tags, source=provider.source_identity),
            "Condition": _condition(provider, subject),
        }
        for provider in role.providers
    ]
    for first in role.first_roles:
        statement: Document = {
            "Effect": "Allow",
            "Principal": {"AWS": first.arn},
            "Action": actions(ASSUME_ROLE, tags=first.session_tags, source=first.source_identity),
        }
        if first.external_id is not None:
            statement["Condition"] = {"StringEquals": {"sts:ExternalId": first.external_id}}
        statements.append(statement)
    return {"Version": VERSION, "Statement": statements}


def inline_policies(role: Role, *, only_through_mcp: bool = False) -> dict[str, Document]:
    """Return the role's permission policies by name: those of a chain, and the optional ``Deny``.

    The permissions of the work itself are not derived: the configuration does not know them.
    """
    policies = {}
    if role.second_roles:
        allowed = {
            "Effect": "Allow",
            "Action": actions(ASSUME_ROLE, tags=role.session_tags, source=role.source_identity),
            "Resource": list(role.second_roles),
        }
        policies[CHAIN_POLICY] = {"Version": VERSION, "Statement": [allowed]}
    if only_through_mcp:
        # extproc itself assumes the second role of a chain, not the AWS MCP Server.
        scope = (
            {"NotAction": [ASSUME_ROLE, TAG_SESSION, SET_SOURCE_IDENTITY]}
            if role.second_roles
            else {"Action": "*"}
        )
        denied = {
            "Effect": "Deny",
            **scope,
            "Resource": "*",
            # IfExists: the condition holds for calls without the key too, so those are denied as well.
            "Condition": {"BoolIfExists": {"aws:ViaAWSMCPService": "false"}},
        }
        policies[ONLY_THROUGH_MCP] = {"Version": VERSION, "Statement": [denied]}
    return policies


def actions(first: str, *, tags: bool, source: bool) -> str | list[str]:
    """Return an ``Action`` element with the permissions for session tags and source identity if needed."""
    found = [first, *([SET_SOURCE_IDENTITY] if source else []), *([TAG_SESSION] if tags else [])]
    return found if len(found) > 1 else first


def as_json(accounts: list[Account], *, subject: str | None = None, only_through_mcp: bool = False) -> str:
    """Return everything as one JSON document."""
    document = {
        "accounts": [
            {
                "account": account.account,
                "partition": account.partition,
                "oidc_providers": [
                    {"url": provider.issuer, "client_ids": list(provider.client_ids)}
                    for provider in account.providers
                ],
                "roles": [
                    {
                        "arn": role.arn,
                        "max_session_duration": role.max_session_duration,
                        "trust_policy": trust_policy(role, subject=subject),
                        "inline_policies": inline_policies(role, only_through_mcp=only_through_mcp),
                    }
                    for role in account.roles
                ],
            }
            for account in accounts
        ]
    }
    return json.dumps(document, indent=2) + "\n"


def _condition(provider: Provider, subject: str | None) -> Document:
    key = provider.identifier
    equal = {f"{key}:aud": _one_or_all(provider.client_ids)}
    if provider.original_audiences:
        equal[f"{key}:oaud"] = _one_or_all(provider.original_audiences)
    condition: Document = {"StringEquals": equal}
    if subject is not None:
        condition["StringLike"] = {f"{key}:sub": subject}
    return condition


def _one_or_all(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)
