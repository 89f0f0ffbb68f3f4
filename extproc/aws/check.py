"""Compares a role's trust policy, or an OIDC provider, that exists with what the configuration needs.

Not evaluated: ``Deny`` statements with conditions, permission boundaries, service control policies. They only
narrow.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from extproc.aws.documents import ASSUME_ROLE, SET_SOURCE_IDENTITY, TAG_SESSION, WEB_IDENTITY
from extproc.aws.requirements import BUILT_IN, Account, FirstRole, Provider, Role
from extproc.aws.statements import Statement, read_statements

MISSING, TOO_WIDE, NOTE = "missing", "too wide", "note"
_EXTERNAL_ID = "sts:externalid"
Finding = tuple[str, str]
"""One of ``MISSING``, ``TOO_WIDE`` and ``NOTE``, and a sentence."""


def check_role(
    role: Role, policy: Any, *, max_session_duration: int | None = None, subject: str | None = None
) -> list[Finding]:
    """Compare a trust policy with the role's; raises ``UnreadableError`` for what is not a policy."""
    statements = read_statements(policy)
    allowing = [entry for entry in statements if entry.effect == "Allow"]
    found = list(_strangers(role, allowing))
    for provider in role.providers:
        found += _check_provider(role, provider, allowing, subject)
    for first in role.first_roles:
        found += _check_first_role(first, allowing)
    asked = role.max_session_duration
    if max_session_duration is not None and max_session_duration < asked:
        found.append((MISSING, f"the maximum session duration is {max_session_duration} s, not {asked} s"))
    if max_session_duration is not None and max_session_duration > asked:
        found.append((NOTE, f"the maximum session duration is {max_session_duration} s; {asked} s would do"))
    found += _denials(role, [entry for entry in statements if entry.effect == "Deny"])
    return list(dict.fromkeys(found))


def check_provider(account: Account, url: str, client_ids: Sequence[str]) -> list[Finding]:
    """Compare an OIDC provider, as ``get-open-id-connect-provider`` prints it: its URL has no scheme."""
    identifier = url.removeprefix("https://")
    if identifier in BUILT_IN:
        return [(TOO_WIDE, f"AWS knows {identifier} by itself; with this provider, STS refuses its tokens")]
    known = {provider.identifier: provider for provider in account.providers}
    provider = known.get(identifier)
    if provider is None:
        hint = next(
            (f"; STS compares it exactly with {name}" for name in known if _alike(name, identifier)), ""
        )
        return [(MISSING, f"{url} is not the URL of a configured issuer{hint}")]
    wanted, present = set(provider.client_ids), set(client_ids)
    return [
        *((MISSING, f"client id {name}") for name in sorted(wanted - present)),
        *((TOO_WIDE, f"client id {name} is not one that tokens need") for name in sorted(present - wanted)),
    ]


def _strangers(role: Role, statements: Sequence[Statement]) -> Iterator[Finding]:
    """Yield principals that the configuration does not know, and elements that admit all but some."""
    federated = {role.provider_arn(provider) for provider in role.providers}
    first = {entry.arn for entry in role.first_roles}
    for statement in statements:
        for name in statement.inverted:
            yield TOO_WIDE, f"{name} admits everything but what it lists"
        for action in statement.actions:
            if "*" in action or "?" in action:
                yield TOO_WIDE, f"Action {action}: name the actions"
        for kind, name in statement.principals:
            if name in (federated if kind == "Federated" else first if kind == "AWS" else set()):
                continue
            twin = next((arn for arn in federated if _alike(arn, name)), None)
            if kind == "Federated" and twin is not None:
                yield MISSING, f"principal {name} is not the provider of the tokens, which is {twin}"
            else:
                yield TOO_WIDE, f"also trusts {name}"


def _denials(role: Role, statements: Sequence[Statement]) -> Iterator[Finding]:
    wanted = [
        *(("Federated", role.provider_arn(entry), WEB_IDENTITY) for entry in role.providers),
        *(("AWS", entry.arn, ASSUME_ROLE) for entry in role.first_roles),
    ]
    for statement in statements:
        denied = [
            (name, action)
            for kind, name, action in wanted
            if statement.grants(action) and {(kind, name), ("AWS", "*")} & set(statement.principals)
        ]
        if statement.conditions or statement.inverted or not denied:
            yield NOTE, "Deny statements are not compared"
            continue
        for name, action in denied:
            yield MISSING, f"a Deny statement refuses {action} to {name}"


def _check_provider(
    role: Role, provider: Provider, statements: Sequence[Statement], subject: str | None
) -> Iterator[Finding]:
    arn = role.provider_arn(provider)
    trusting = [entry for entry in statements if ("Federated", arn) in entry.principals]
    assuming = [entry for entry in trusting if entry.grants(WEB_IDENTITY)]
    if not assuming:
        yield MISSING, f"no statement allows {WEB_IDENTITY} to {arn}"
        return
    yield from _check_extras(provider, trusting, arn)
    key = provider.identifier.lower()
    effective = []
    for statement in assuming:
        foreign = [entry.key for entry in statement.conditions if _is_foreign(entry.key, key)]
        for name in foreign:
            yield MISSING, f"{name} is no key of these tokens and never matches; theirs begin with {key}:"
        effective += [] if foreign else [statement]
    if not effective:
        return
    expected = {f"{key}:aud": provider.client_ids}
    if provider.original_audiences:
        expected[f"{key}:oaud"] = provider.original_audiences
    if subject is not None:
        expected[f"{key}:sub"] = (subject,)
    for name, values in expected.items():
        yield from _check_values(name, values, effective)
    yield from _unknown_conditions(effective, set(expected))


def _is_foreign(name: str, key: str) -> bool:
    """Return whether a condition key is that of another provider, or of this one with an error in it."""
    return name.endswith((":aud", ":oaud", ":sub")) and name.rpartition(":")[0] != key


def _unknown_conditions(statements: Sequence[Statement], expected: set[str]) -> Iterator[Finding]:
    for statement in statements:
        for condition in statement.conditions:
            if condition.key not in expected or not condition.compares:
                name = f"{condition.operator} on {condition.key}"
                yield NOTE, f"the condition {name} is not part of the configuration, and may refuse users"


def _check_values(key: str, values: Sequence[str], statements: Sequence[Statement]) -> Iterator[Finding]:
    """Compare the values of one condition key: all of the wanted ones, and no others."""
    limits = [
        [entry for entry in statement.conditions if entry.key == key and entry.compares]
        for statement in statements
    ]
    for value in values:
        if not any(all(entry.admits(value) for entry in conditions) for conditions in limits):
            yield MISSING, f"{key} does not admit {value}"
    for conditions in limits:
        if not conditions:
            yield TOO_WIDE, f"no condition limits {key}"
        elif not any(set(entry.values) <= set(values) for entry in conditions):
            extra = sorted({value for entry in conditions for value in entry.values} - set(values))
            yield TOO_WIDE, f"{key} also admits {', '.join(extra)}"


def _check_first_role(first: FirstRole, statements: Sequence[Statement]) -> Iterator[Finding]:
    _, partition, _, _, account, _ = first.arn.split(":", 5)
    names = {first.arn, "*", account, f"arn:{partition}:iam::{account}:root"}
    trusting = [entry for entry in statements if any(("AWS", name) in entry.principals for name in names)]
    assuming = [entry for entry in trusting if entry.grants(ASSUME_ROLE)]
    if not assuming:
        yield MISSING, f"no statement allows {ASSUME_ROLE} to {first.arn}"
        return
    yield from _check_extras(first, trusting, first.arn)
    asked = [entry for statement in assuming for entry in statement.conditions if entry.key == _EXTERNAL_ID]
    if first.external_id is not None:
        yield from _check_values(_EXTERNAL_ID, [first.external_id], assuming)
    elif asked:
        yield MISSING, f"sts:ExternalId is required of {first.arn}, and its chain has no external_id"
    yield from _unknown_conditions(assuming, {_EXTERNAL_ID})


def _check_extras(
    wanted: Provider | FirstRole, statements: Sequence[Statement], name: str
) -> Iterator[Finding]:
    for action, needed in ((TAG_SESSION, wanted.session_tags), (SET_SOURCE_IDENTITY, wanted.source_identity)):
        granted = any(entry.grants(action) for entry in statements)
        if needed and not granted:
            yield MISSING, f"{action} for {name}"
        if granted and not needed:
            yield TOO_WIDE, f"{action} for {name} is not needed"


def _alike(one: str, other: str) -> bool:
    """Return whether two identifiers differ only in case, scheme or a slash at the end."""
    return one.lower().rstrip("/") == other.lower().replace("https://", "").rstrip("/")
