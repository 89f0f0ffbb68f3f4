"""The search through mappings or ceilings: the first that counts, and what was looked at on the way.

``require_scopes`` divides those to whom a condition applies: a mapping counts for tokens that have the
scopes, and a deny rule or a ceiling for tokens that lack some.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from extproc.policy.ceilings import Ceiling
from extproc.policy.cel import Budget, EvaluationError, MissingMemberError
from extproc.policy.mappings import Rule
from extproc.values import Identity

_Entry = TypeVar("_Entry", Rule, Ceiling)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What became of one mapping or ceiling, for explanations.

    Attributes:
        missing: the member that it reads and that is not there, as in ``claims.act.sub``.
        foreign: whether it is for tokens of other issuers only, and was not looked at further.
        lacking: its scopes that the token does not have; None where its condition does not apply, or it
            requires none. A mapping that lacks some has not matched; a deny rule or ceiling only then has.
    """

    rule: Rule | Ceiling
    matched: bool
    error: str | None
    missing: str | None = None
    foreign: bool = False
    lacking: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a decision is about, and what it goes by."""

    identity: Identity
    scopes: frozenset[str]
    variables: Mapping[str, Any]
    budget: Budget


@dataclass(frozen=True, slots=True)
class Search(Generic[_Entry]):
    """How a search through mappings or ceilings ended.

    Attributes:
        entry: the one that counts.
        error: what went wrong at the last that was looked at.
        but_for_scopes: mappings with a role that would have counted, had the token had their scopes.
        demanding: deny rules that apply until the token has their scopes.
    """

    entry: _Entry | None
    evaluated: tuple[Evaluated, ...]
    error: str | None = None
    but_for_scopes: tuple[_Entry, ...] = ()
    demanding: tuple[_Entry, ...] = ()


def first_match(entries: Sequence[_Entry], subject: Subject) -> Search[_Entry]:
    """Look at entries until one counts or cannot be evaluated.

    The search goes on at a mapping whose scopes are missing, since a later one may give a role; and at
    a deny rule that scopes would lift, so that all of them are asked for at once, and only if no other rule
    denies anyhow.
    """
    evaluated: list[Evaluated] = []
    but_for_scopes: list[_Entry] = []
    demanding: list[_Entry] = []
    found: _Entry | None = None
    for entry in entries:
        if not is_for(entry, subject.identity.issuer):
            evaluated.append(Evaluated(entry, matched=False, error=None, foreign=True))
            continue
        missing = None
        try:
            subject.budget.spend(1)
            applies = entry.matcher.matches(subject.variables, subject.budget)
        except MissingMemberError as member:
            applies = member.applies and restricts(entry)
            missing = member.member
        except EvaluationError as error:
            evaluated.append(Evaluated(entry, matched=False, error=str(error)))
            return Search(None, tuple(evaluated), f"{entry.name}: {error}")
        lacking = None
        if applies and entry.require_scopes:
            lacking = entry.require_scopes.missing(subject.scopes)
            applies = bool(lacking) is restricts(entry)
        evaluated.append(Evaluated(entry, matched=applies, error=None, missing=missing, lacking=lacking))
        if applies and lacking and isinstance(entry, Rule):
            demanding.append(entry)
        elif applies:
            found = entry
            break
        elif lacking:
            but_for_scopes.append(entry)
    return Search(found, tuple(evaluated), None, tuple(but_for_scopes), tuple(demanding))


def restricts(entry: Rule | Ceiling) -> bool:
    """Whether it takes away: where a claim is missing, it applies."""
    return isinstance(entry, Ceiling) or entry.role_arn is None


def is_for(entry: Rule | Ceiling, issuer: str) -> bool:
    """Return whether it is for tokens of the issuer."""
    return entry.issuers is None or issuer in entry.issuers


def by_priority(entry: Rule | Ceiling) -> tuple[bool, bool, int]:
    """Return the order: deny rules first, whatever their priority; it orders them among themselves."""
    return not restricts(entry), entry.priority is None, entry.priority or 0
