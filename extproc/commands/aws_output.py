"""``extproc aws``: prints what AWS must know of a configuration, or checks what it knows."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extproc.aws import check as checks
from extproc.aws.documents import as_json
from extproc.aws.requirements import Account, Role
from extproc.aws.shell import as_shell
from extproc.aws.statements import UnreadableError
from extproc.aws.templates import as_cloudformation, as_terraform

CLEAN, FOUND, UNREADABLE = 0, 1, 2


class SeveralAccountsError(ValueError):
    """A format for one account, and a configuration with several; the message lists them."""


def rendered(form: str, accounts: list[Account], *, subject: str | None, only_through_mcp: bool) -> str:
    """Return the providers and roles in one of the output formats.

    Raises:
        SeveralAccountsError: the format is for one account.
    """
    if form in ("json", "cli"):
        render = {"json": as_json, "cli": as_shell}[form]
        return render(accounts, subject=subject, only_through_mcp=only_through_mcp)
    if len(accounts) > 1:
        raise SeveralAccountsError(", ".join(account.account for account in accounts))
    template = {"terraform": as_terraform, "cloudformation": as_cloudformation}[form]
    return template(accounts[0], subject=subject, only_through_mcp=only_through_mcp)


def check(path: Path, accounts: list[Account], role_arn: str | None, subject: str | None) -> int:
    """Print a line for each finding; return the exit status. Notes alone are no findings."""
    try:
        found = _findings(_read(path), accounts, role_arn, subject)
    except UnreadableError as error:
        print(f"{path}: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return UNREADABLE
    for kind, message in found:
        print(f"{kind}: {message}")  # noqa: T201
    return FOUND if any(kind != checks.NOTE for kind, _ in found) else CLEAN


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(str(error.strerror)) from None
    except (ValueError, RecursionError):
        raise UnreadableError("not JSON") from None
    if not isinstance(document, dict):
        raise UnreadableError("not a JSON object")
    return document


def _findings(
    document: Mapping[str, Any], accounts: list[Account], role_arn: str | None, subject: str | None
) -> list[checks.Finding]:
    if isinstance(document.get("Url"), str):
        return _provider_findings(document, accounts)
    seen = document.get("Role", document)
    if not isinstance(seen, dict):
        raise UnreadableError("Role is not an object")
    role = _role(accounts, role_arn or seen.get("Arn"))
    duration = seen.get("MaxSessionDuration")
    return checks.check_role(
        role,
        seen.get("AssumeRolePolicyDocument", seen),
        max_session_duration=duration if isinstance(duration, int) else None,
        subject=subject,
    )


def _provider_findings(document: Mapping[str, Any], accounts: list[Account]) -> list[checks.Finding]:
    """Compare a provider; the output of IAM does not say of which account it is."""
    if len(accounts) != 1:
        raise UnreadableError("--account is required: the configuration has several")
    client_ids = document.get("ClientIDList", [])
    if not isinstance(client_ids, list):
        raise UnreadableError("ClientIDList is not a list")
    return checks.check_provider(accounts[0], document["Url"], client_ids)


def _role(accounts: list[Account], role_arn: str | None) -> Role:
    roles = {role.arn: role for account in accounts for role in account.roles}
    if role_arn is None and len(roles) == 1:
        return next(iter(roles.values()))
    if role_arn not in roles:
        raise UnreadableError(
            f"--role is required, one of {', '.join(roles)}"
            if role_arn is None
            else f"{role_arn} is not a role of the configuration: {', '.join(roles)}"
        )
    return roles[role_arn]
