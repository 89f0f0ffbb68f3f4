"""Errors of the configuration: parts of rules that are false, or an error, for every token."""

from collections.abc import Iterator

from extproc.config.settings import Settings
from extproc.policy.cel import BoolExpression, StringExpression
from extproc.policy.claims_schema import REGISTERED, Schema
from extproc.policy.matchers import account_expression, cel_matcher, name_expression, token_matcher
from extproc.policy.types import findings
from extproc.spelling import did_you_mean

_NEVER_NAMES = frozenset({"aud", "exp", "iat", "iss", "nbf"})
"""Registered claims that are not strings or do not identify a user (RFC 7519 4.1)."""


def problems(settings: Settings) -> Iterator[str]:
    """Yield the problems as ``path: message`` lines."""
    schema = settings.claims_schema
    for path, expression in expressions(settings):
        yield from (f"{path}: CEL: {fault}" for fault in expression.faults)
        yield from (f"{path}: CEL: {finding}" for finding in findings(expression.source, schema))
    for name in ("matcher", "act_matcher", "claims_matcher"):
        source = getattr(settings.console, name)
        if source is not None:  # ID tokens have other claims than those that `claims` declares
            yield from (f"console.{name}: CEL: {fault}" for fault in token_matcher(source).faults)
            yield from (f"console.{name}: CEL: {finding}" for finding in findings(source, None))
    yield from _named_claims(settings, schema)


def expressions(settings: Settings) -> Iterator[tuple[str, BoolExpression | StringExpression]]:
    """Yield all compiled expressions with their paths."""
    for path, rule in settings.rules():
        if rule.matcher is not None:
            yield f"{path}.matcher", cel_matcher(rule.matcher)
    for position, mapping in enumerate(settings.role_mappings):
        if mapping.chain is not None and mapping.chain.account is not None:
            yield f"role_mappings[{position}].chain.account", account_expression(mapping.chain.account)
    for position, limit in enumerate(settings.rate_limits):
        if limit.matcher is not None:
            yield f"rate_limits[{position}].matcher", cel_matcher(limit.matcher)
    if settings.session_name is not None:
        yield "session_name", name_expression(settings.session_name)


def _named_claims(settings: Settings, schema: Schema | None) -> Iterator[str]:
    """Yield problems of claims that are named outside of expressions."""
    if settings.session_name is None:
        name = settings.session_name_claim
        if name in _NEVER_NAMES:
            yield f"session_name_claim: {name} does not name a user"
        yield from _declared("session_name_claim", name, "string", schema)
    if any(rule.claim is not None for _, rule in settings.rules()):
        yield from _declared("role_claim", settings.role_claim, "list", schema)


def _declared(path: str, name: str, wanted: str, schema: Schema | None) -> Iterator[str]:
    if schema is None:
        return
    found = schema.get(name) or REGISTERED.get(name)
    if found is None:
        yield f"{path}: {name} is not declared in claims{did_you_mean(name, schema)}"
    elif found.kind not in (wanted, "any"):
        yield f"{path}: {name} is declared as {found}, and must be a {wanted}"
