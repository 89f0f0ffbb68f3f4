"""The STS emulator's evaluation of trust policies, as IAM does it.

It shares nothing with ``extproc aws``, which prints such policies. Not evaluated: ``NotPrincipal``,
``NotAction`` and operators beyond those for strings; a policy with any of them is refused when it is read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

ASSUME: Final = "sts:AssumeRoleWithWebIdentity"

_STATEMENT_ELEMENTS: Final = frozenset({"Sid", "Effect", "Principal", "Action", "Condition"})
_OPERATORS: Final = ("StringEquals", "StringNotEquals", "StringLike", "StringNotLike")

Context = Mapping[str, Sequence[str]]
"""The values of a request's condition keys, which are in lower case."""


@dataclass(frozen=True, slots=True)
class _Test:
    operator: str
    key: str
    patterns: tuple[str, ...]

    def holds(self, context: Context) -> bool:
        """Return whether the request meets it; without the key only ``Not`` and ``IfExists`` do."""
        name = self.operator.removeprefix("ForAnyValue:").removesuffix("IfExists")
        present = context.get(self.key, ())
        if not present:
            return self.operator.endswith("IfExists") or ("Not" in name and ":" not in self.operator)
        like = name.endswith("Like")
        found = [any(_matches(pattern, value, like=like) for pattern in self.patterns) for value in present]
        return any(not entry for entry in found) if "Not" in name else any(found)


@dataclass(frozen=True, slots=True)
class _Statement:
    effect: str
    principals: frozenset[tuple[str, str]]
    actions: tuple[str, ...]
    tests: tuple[_Test, ...]

    def applies(self, action: str, principal: tuple[str, str], context: Context) -> bool:
        return (
            (principal in self.principals or ("AWS", "*") in self.principals)
            and any(_matches(pattern.lower(), action.lower(), like=True) for pattern in self.actions)
            and all(test.holds(context) for test in self.tests)
        )


@dataclass(frozen=True, slots=True)
class TrustDocument:
    """A role's trust policy as IAM stores it.

    Attributes:
        statements: the document's statements.
        max_session_duration: seconds, IAM's MaxSessionDuration.
    """

    statements: tuple[_Statement, ...]
    max_session_duration: int = 3600

    @classmethod
    def from_json(cls, document: Any, *, max_session_duration: int = 3600) -> "TrustDocument":
        """Read a policy document; raises ``ValueError`` for elements that are not evaluated."""
        statements = document["Statement"]
        entries = statements if isinstance(statements, list) else [statements]
        return cls(tuple(_statement(entry) for entry in entries), max_session_duration)

    def permits(self, action: str, provider_arn: str, context: Context) -> bool:
        """Return whether the provider's user may take the action: an ``Allow`` and no ``Deny``."""
        return self._permits(action, (("Federated", provider_arn),), context)

    def permits_role(self, action: str, role_arn: str, context: Context) -> bool:
        """Return whether sessions of a role may take the action. The role's account stands for it, too."""
        account = role_arn.partition(":role/")[0]
        return self._permits(action, (("AWS", role_arn), ("AWS", f"{account}:root")), context)

    def _permits(self, action: str, principals: Sequence[tuple[str, str]], context: Context) -> bool:
        effects = {
            entry.effect
            for entry in self.statements
            for principal in principals
            if entry.applies(action, principal, context)
        }
        return effects == {"Allow"}


def _statement(entry: Mapping[str, Any]) -> _Statement:
    unknown = entry.keys() - _STATEMENT_ELEMENTS
    if unknown or entry.get("Effect") not in ("Allow", "Deny"):
        raise ValueError(f"a statement has no Effect, or elements that are not evaluated: {sorted(unknown)}")
    principal = {"AWS": "*"} if entry["Principal"] == "*" else entry["Principal"]
    return _Statement(
        effect=entry["Effect"],
        principals=frozenset((kind, name) for kind, names in principal.items() for name in _list(names)),
        actions=tuple(_list(entry["Action"])),
        tests=tuple(_tests(entry.get("Condition", {}))),
    )


def _tests(condition: Mapping[str, Mapping[str, Any]]) -> Iterator[_Test]:
    for operator, keys in condition.items():
        if operator.removeprefix("ForAnyValue:").removesuffix("IfExists") not in _OPERATORS:
            raise ValueError(f"the operator {operator} is not evaluated")
        for key, values in keys.items():
            yield _Test(operator, key.lower(), tuple(_list(values)))


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _matches(pattern: str, value: str, *, like: bool) -> bool:
    if not like:
        return pattern == value
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, value, re.DOTALL) is not None


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """The trust policy of a role, in short. Empty ``audiences`` or ``subjects`` admit no user.

    It allows neither session tags nor a source identity; for those, and for ``oaud``, see ``TrustDocument``.

    Attributes:
        audiences: values admitted of ``azp``, or of ``aud`` where a token has no ``azp``.
        subjects: case-sensitive ``fnmatch`` patterns of ``sub``, any of which admits.
        max_session_duration: seconds, IAM's MaxSessionDuration.
    """

    audiences: frozenset[str]
    subjects: tuple[str, ...]
    max_session_duration: int = 3600

    def permits(self, action: str, provider_arn: str, context: Context) -> bool:
        """Return whether the user of a verified token may take the action."""
        key = identifier(provider_arn)
        (audience,), (subject,) = context[f"{key}:aud"], context[f"{key}:sub"]
        return (
            action == ASSUME
            and audience in self.audiences
            and any(fnmatchcase(subject, pattern) for pattern in self.subjects)
        )


def identifier(provider_arn: str) -> str:
    """Return by what condition keys name a provider: the end of its ARN, in lower case."""
    return provider_arn.rpartition(":oidc-provider/")[2].lower()
