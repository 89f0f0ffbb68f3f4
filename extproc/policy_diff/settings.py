"""Differences of two configurations outside of mappings and ceilings.

Settings that only concern the server itself (listeners, caches, logs) never give anybody more. What a setting
that is not known here gives is not known either, so that a change of it counts as more.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from extproc.config import Issuer, Settings
from extproc.policy_diff import limits
from extproc.policy_diff.outcome import Kind
from extproc.scopes import ScopeHierarchy

_CREDENTIALS = (
    *("client_secret_file", "private_key_file", "key_id", "signing_algorithm", "certificate_file"),
    *("client_assertion_file", "client_authentication", "assertion_audience"),
)
"""How the gateway authenticates to the token endpoint."""

Judge = Callable[[Any, Any], Kind]
"""Returns whether a value, after another one, widens, narrows or only changes what is given."""

_OF_RULES = frozenset(
    {
        "role_mappings",
        "ceilings",
        "fallback_role_arn",
        "session_duration",
        "session_name",
        "session_name_claim",
    }
    | {"role_claim", "scopes", "issuers", "targets", "rate_limits"}
)
_OF_THE_SERVER = frozenset(
    {
        "listen",
        "cache",
        "audit",
        "tracing",
        "head_memory",
        "observe_upstream",
        "dynamic_metadata",
        "drain_delay_seconds",
        "shadow",
    }
    | {"drain_seconds", "support", "mcp", "refresh", "limits"}
)


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """One difference.

    Attributes:
        path: the setting, as in ``issuers[https://idp.example.com/].audiences``.
        text: what changed, for people.
    """

    path: str
    kind: Kind
    gives_more: bool
    text: str


def settings_differences(before: Settings, after: Settings) -> Iterator[SettingDifference]:
    """Yield the differences of all settings that are not rules."""
    yield from _named("issuers", _issuers(before), _issuers(after), _ISSUER)
    yield from _named("targets", _targets(before), _targets(after), _TARGET)
    yield from _named("rate_limits", *limits.rate_limits(before, after), _LIMIT, restricts=True)
    for name in type(before).model_fields.keys() - _OF_RULES:
        one, other = getattr(before, name), getattr(after, name)
        if _plain(one) != _plain(other):
            judge = _SETTINGS.get(name, _neutral if name in _OF_THE_SERVER else _unknown)
            yield from _difference(name, _plain(one), _plain(other), judge)


def _named(
    section: str,
    before: Mapping[str, Mapping[str, Any]],
    after: Mapping[str, Mapping[str, Any]],
    judges: Mapping[str, Judge],
    *,
    restricts: bool = False,
) -> Iterator[SettingDifference]:
    """Yield the differences of entries with names; ``restricts``: an entry less gives more."""
    for name in before.keys() | after.keys():
        path = f"{section}[{name}]"
        if name not in before or name not in after:
            added = name not in before
            kind = Kind.WIDENED if added is not restricts else Kind.NARROWED
            yield SettingDifference(path, kind, kind is Kind.WIDENED, "added" if added else "removed")
            continue
        one, other = before[name], after[name]
        for member in one.keys() & other.keys():
            if one[member] != other[member]:
                judge = judges.get(member, _unknown)
                yield from _difference(f"{path}.{member}", one[member], other[member], judge)


def _difference(path: str, before: Any, after: Any, judge: Judge) -> Iterator[SettingDifference]:
    kind = judge(before, after)
    gives_more = kind is Kind.WIDENED or (kind is Kind.CHANGED and judge is not _neutral)
    yield SettingDifference(path, kind, gives_more, _text(before, after))


def _text(before: Any, after: Any) -> str:
    if isinstance(before, frozenset) and isinstance(after, frozenset):
        added, removed = sorted(map(str, after - before)), sorted(map(str, before - after))
        return "; ".join(
            f"{what}: {', '.join(names)}" for what, names in (("added", added), ("removed", removed)) if names
        )
    if isinstance(before, dict | list) or isinstance(after, dict | list):
        return "changed"
    return f"{_shown(before)}, now {_shown(after)}"


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _issuers(settings: Settings) -> dict[str, dict[str, Any]]:
    hierarchy = ScopeHierarchy(settings.scopes)
    found = {}
    for issuer in settings.issuers:
        members = {name: _plain(value) for name, value in issuer}
        members["required_scopes"] = frozenset(
            " or ".join(sorted(enough)) for enough in hierarchy.require(issuer.required_scopes).sufficient
        )
        members["required_claims"] = _claims(issuer.required_claims)
        for name in ("audiences", "algorithms", "token_types", "sts_token_audiences"):
            members[name] = frozenset(members[name])
        members |= _exchange(issuer)
        found[issuer.issuer] = members
    return found


def _exchange(issuer: Issuer) -> dict[str, Any]:
    """Return the members of ``token_exchange`` as members of the issuer; itself: whether there is one."""
    exchange = issuer.token_exchange
    if exchange is None:
        return {"token_exchange": None}
    found = {f"token_exchange.{name}": _plain(value) for name, value in exchange}
    found |= {
        "token_exchange": "set",
        "token_exchange.token_audiences": frozenset(exchange.token_audiences),
        "token_exchange.audience": frozenset(exchange.audiences),
        "token_exchange.resource": frozenset(exchange.resources),
        "token_exchange.scope": frozenset(exchange.scopes.split()),
        "token_exchange.token_required_claims": _claims(exchange.token_required_claims),
    }
    return found


def _claims(required: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(
        f"{name} {sorted(map(repr, value)) if isinstance(value, list) else [repr(value)]}"
        for name, value in required.items()
    )


def _targets(settings: Settings) -> dict[str, dict[str, Any]]:
    found = {}
    for target in settings.targets:
        members = {name: _plain(value) for name, value in target}
        members |= {
            "region": target.scope.region,
            "service": target.scope.service,
            "payload": target.payload_mode,
            "aws_chunked": target.aws_chunked_mode,
            "endpoint_url": target.endpoint_url or f"https://{target.host}",
            "max_connections": target.connection_limit,
            "max_connections_per_subject": target.limit_of_one_subject,
            "max_waiting": target.waiting_limit,
            "sign_headers": frozenset(target.sign_headers),
            "withhold_headers": frozenset(target.withhold_headers),
        }
        found[target.name] = members
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return frozenset(value) if isinstance(value, list) and all(isinstance(x, str) for x in value) else value


def _set(before: Any, after: Any) -> Kind:
    """Judge a list of what is accepted."""
    return Kind.WIDENED if after - before else Kind.NARROWED


def _needed(before: Any, after: Any) -> Kind:
    """Judge a list of what is required."""
    return Kind.WIDENED if before - after else Kind.NARROWED


def _switch(before: Any, after: Any) -> Kind:
    """Judge a setting that accepts more if it is true, or larger."""
    return Kind.WIDENED if (after or 0) > (before or 0) else Kind.NARROWED


def _filter(_before: Any, after: Any) -> Kind:
    """Judge a setting that shows less if it is true."""
    return Kind.NARROWED if after else Kind.WIDENED


def _schema(before: Any, after: Any) -> Kind:
    return Kind.WIDENED if after is None else Kind.NARROWED if before is None else Kind.WIDENED


def _names(_before: Any, after: Any) -> Kind:
    return Kind.WIDENED if after == "replace" else Kind.NARROWED


def _neutral(_before: Any, _after: Any) -> Kind:
    return Kind.CHANGED


def _other(_before: Any, _after: Any) -> Kind:
    """Judge a setting that leads elsewhere, or trusts something else."""
    return Kind.CHANGED


def _unknown(_before: Any, _after: Any) -> Kind:
    return Kind.CHANGED


_ISSUER: Mapping[str, Judge] = {
    "audiences": _set,
    "ignore_audience_slash": _switch,
    "algorithms": _set,
    "token_types": _set,
    "leeway": _switch,
    "jwks_uri": _other,
    "jwks_file": _other,
    "allow_insecure_http": _switch,
    "required_claims": _needed,
    "required_scopes": _needed,
    "refresh": _neutral,
    "verified_by": _other,
    "sts_token_header": _other,
    "sts_token_audiences": _set,
    "token_exchange.token_audiences": _set,
    "token_exchange.token_required_claims": _needed,
    "token_exchange.scope": _set,
    "token_exchange.audience": _set,
    "token_exchange.resource": _set,
    "token_exchange.insecure_plaintext": _switch,
    **dict.fromkeys((f"token_exchange.{name}" for name in _CREDENTIALS), _neutral),
}
_LIMIT: Mapping[str, Judge] = {
    "targets": limits.targets,
    "matcher": limits.matcher,
    "per": limits.per,
    "rate": limits.rate,
    "burst": limits.burst,
}
_TARGET: Mapping[str, Judge] = {
    "sign_headers": _set,
    "withhold_headers": _needed,
    "insecure_plaintext": _switch,
    "filter_tools_list": _filter,
    "max_connections": _neutral,
    "max_connections_per_subject": _neutral,
    "max_waiting": _neutral,
    "max_wait": _neutral,
    "protocol": _neutral,
}
_SETTINGS: Mapping[str, Judge] = {
    "allowed_origins": _set,
    "claims": _schema,
    "session_name_invalid": _names,
    "sts": _other,
    "resource": _neutral,
}
