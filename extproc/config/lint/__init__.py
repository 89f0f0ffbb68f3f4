"""What is valid and yet likely wrong: warnings of ``extproc check`` as ``path: message`` lines.

Rules are reviewed in ``policy.review``, expressions in ``config.expressions``. A setting that gives secrets
away is not a warning but an error of its section.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from extproc.config.lint.aws import account_warnings, partition_warnings, sts_warnings
from extproc.config.lint.issuers import issuer_warnings, scope_warnings
from extproc.config.lint.network import listen_warnings, resource_warnings
from extproc.config.lint.rules import comparison_warnings, message_warnings, name_warnings, validity_warnings
from extproc.config.lint.targets import filter_warnings, target_warnings
from extproc.config.settings import Settings


def warnings(settings: Settings) -> list[str]:
    """Return what is likely wrong, in the order of the sections."""
    checks: tuple[Callable[[Settings], Iterator[str]], ...] = (
        listen_warnings, resource_warnings, issuer_warnings, scope_warnings, target_warnings, filter_warnings,
        sts_warnings, partition_warnings, name_warnings, account_warnings, comparison_warnings,
        message_warnings, validity_warnings, _others,
    )  # fmt: skip
    return [warning for check in checks for warning in check(settings)]


def notes(settings: Settings) -> list[str]:
    """Return what is correct and may still surprise."""
    none = "issuers[0].required_scopes: none, so that a 401 names no scope, and MCP clients ask at once for"
    later = any(entry.require_scopes for _, entry in settings.rules())
    if later and not any(issuer.required_scopes for issuer in settings.issuers):
        return [f"{none} all that rules require"]
    return []


def _others(settings: Settings) -> Iterator[str]:
    output = settings.audit.output
    if output not in (None, "-") and not _writable(Path(output)):
        yield f"audit.output: {output} cannot be written here"
    limits = settings.limits
    if limits.mcp_body_bytes > limits.request_body_bytes:
        yield "limits.mcp_body_bytes: is larger than limits.request_body_bytes, which comes first"
    if settings.cache.margin * 2 > min(_durations(settings)):
        yield f"cache.margin: {settings.cache.margin:.0f} s is more than half of a session's duration"


def _durations(settings: Settings) -> list[int]:
    return [
        settings.session_duration,
        *(entry.session_duration or 43_200 for entry in settings.role_mappings),
    ]


def _writable(path: Path) -> bool:
    if path.exists():
        return not path.is_dir() and os.access(path, os.W_OK)
    return path.parent.is_dir() and os.access(path.parent, os.W_OK)
