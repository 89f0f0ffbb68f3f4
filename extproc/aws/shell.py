"""Commands of the AWS CLI that create the OIDC providers and roles."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

from extproc.aws.documents import inline_policies, trust_policy
from extproc.aws.requirements import Account, Role


def as_shell(accounts: list[Account], *, subject: str | None = None, only_through_mcp: bool = False) -> str:
    """Return a shell script with a section for each account; the caller has credentials for that account."""
    lines = ["#!/bin/sh", "set -eu"]
    for account in accounts:
        lines += ["", f"# Account {account.account} ({account.partition})"]
        for provider in account.providers:
            lines.append(
                _command(
                    "create-open-id-connect-provider",
                    ["--url", provider.issuer],
                    ["--client-id-list", *provider.client_ids],
                )
            )
        for role in account.roles:
            lines += _role(role, subject, only_through_mcp=only_through_mcp)
    return "\n".join(lines) + "\n"


def _role(role: Role, subject: str | None, *, only_through_mcp: bool) -> Iterator[str]:
    yield f"# For a role that exists: update-assume-role-policy, and update-role for the duration. {role.arn}"
    yield _command(
        "create-role",
        ["--role-name", role.name],
        ["--path", role.path],
        ["--max-session-duration", str(role.max_session_duration)],
        ["--assume-role-policy-document", _compact(trust_policy(role, subject=subject))],
    )
    for name, document in inline_policies(role, only_through_mcp=only_through_mcp).items():
        yield _command(
            "put-role-policy",
            ["--role-name", role.name],
            ["--policy-name", name],
            ["--policy-document", _compact(document)],
        )


def _command(name: str, *options: list[str]) -> str:
    return " \\\n  ".join([f"aws iam {name}", *(shlex.join(option) for option in options)])


def _compact(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
