"""Warnings about rules: claims by name, values that never occur, messages that reveal too much."""

import re
from collections.abc import Iterator

from extproc.clock import system_clock
from extproc.config.expressions import expressions
from extproc.config.settings import Settings
from extproc.policy.compared import compared
from extproc.request.admission import METHOD
from extproc.spelling import did_you_mean


def name_warnings(settings: Settings) -> Iterator[str]:
    """Yield names that look like a path; only claims named by a URL have dots in their names."""
    named = [("session_name_claim", settings.session_name_claim)] if settings.session_name is None else []
    if any(rule.claim for _, rule in settings.rules()):
        named.append(("role_claim", settings.role_claim))
    for path, name in named:
        if "." in name and "/" not in name and name not in (settings.claims or {}):
            yield f"{path}: {name} is the name of one claim, not a path to a nested one"


def comparison_warnings(settings: Settings) -> Iterator[str]:
    """Yield values that a rule compares with and that never occur: a deny rule would never apply."""
    known = {
        ("request", "target"): [target.name for target in settings.targets],
        ("claims", "iss"): [issuer.issuer for issuer in settings.issuers],
    }
    for path, expression in expressions(settings):
        for member, values in known.items():
            for value in compared(expression.source, member):
                if value not in values:
                    yield f"{path}: {'.'.join(member)} is never {value!r}{did_you_mean(value, values)}"
        for value in compared(expression.source, ("request", "method")):
            if not METHOD.fullmatch(value):
                yield f"{path}: request.method is never {value!r}, since methods are capital letters"


def validity_warnings(settings: Settings) -> Iterator[str]:
    """Yield mappings that have ended, and what a duration promises beyond their end."""
    now = system_clock()
    for position, mapping in enumerate(settings.role_mappings):
        if mapping.valid is not None and (mapping.valid.ends_at or now + 1) <= now:
            yield f"role_mappings[{position}].valid.until: is past, so that the mapping never counts again"
    for position, mapping in enumerate(settings.role_mappings):
        if mapping.break_glass and settings.audit.output is None:
            yield f"role_mappings[{position}].break_glass: audit.output is off, and reasons are only logged"


def message_warnings(settings: Settings) -> Iterator[str]:
    """Yield messages to denied clients that read badly or reveal names."""
    if settings.support and re.match(r"(?i)ask\b", settings.support):
        yield 'support: completes "ask ...", and begins with that word itself'
    for path, rule in settings.rules():
        if rule.message and "arn:" in rule.message:
            yield f"{path}.message: shows denied clients a name at AWS"
