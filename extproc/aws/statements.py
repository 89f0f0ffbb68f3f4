"""Statements of an IAM policy document, as values that can be compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


class UnreadableError(ValueError):
    """A document is not an IAM policy."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One key of a ``Condition`` element; the key is in lower case, as IAM compares it."""

    operator: str
    key: str
    values: tuple[str, ...]

    @property
    def compares(self) -> bool:
        """Return whether the operator admits only the listed strings or patterns.

        Those that end in ``IfExists`` also admit requests without the key.
        """
        return self.operator.removeprefix("ForAnyValue:") in ("StringEquals", "StringLike")

    def admits(self, value: str) -> bool:
        """Return whether a value is among the strings, or matches a pattern of ``StringLike``."""
        if "StringLike" not in self.operator:
            return value in self.values
        # In IAM only * and ? are special; fnmatch also knows [.
        return any(fnmatchcase(value, pattern.replace("[", "[[]")) for pattern in self.values)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. ``principals`` are pairs such as ``("Federated", ARN)``."""

    effect: str
    principals: tuple[tuple[str, str], ...]
    actions: tuple[str, ...]
    conditions: tuple[Condition, ...]
    inverted: tuple[str, ...]

    def grants(self, action: str) -> bool:
        """Return whether an ``Action`` pattern covers the action; IAM ignores its case."""
        return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in self.actions)


def read_statements(document: Any) -> list[Statement]:
    """Return the statements of a policy document; raises ``UnreadableError``."""
    if not isinstance(document, dict) or "Statement" not in document:
        raise UnreadableError("not a policy document: it has no Statement")
    statements = document["Statement"]
    return [_statement(entry) for entry in (statements if isinstance(statements, list) else [statements])]


def _statement(entry: Any) -> Statement:
    if not isinstance(entry, dict) or entry.get("Effect") not in ("Allow", "Deny"):
        raise UnreadableError("a statement is not an object with the Effect Allow or Deny")
    principal = entry.get("Principal", {})
    if principal == "*":
        principal = {"AWS": "*"}
    return Statement(
        effect=entry["Effect"],
        principals=tuple(
            (kind, name) for kind, names in _object(principal).items() for name in _strings(names)
        ),
        actions=_strings(entry.get("Action", [])),
        conditions=tuple(_conditions(entry.get("Condition", {}))),
        inverted=tuple(name for name in ("NotAction", "NotPrincipal") if name in entry),
    )


def _conditions(document: Any) -> Iterator[Condition]:
    for operator, keys in _object(document).items():
        for key, values in _object(keys).items():
            yield Condition(operator, key.lower(), _strings(values))


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableError("Principal and Condition must be objects")
    return value


def _strings(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str | bool | int) for entry in values):
        raise UnreadableError("Principal, Action and Condition take strings")
    return tuple(str(entry) for entry in values)
