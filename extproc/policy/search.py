"""The search for the first mapping or ceiling that applies, with what was evaluated on the way.

Where a condition applies, ``require_scopes`` decides further: a mapping applies to tokens that have the
scopes, a deny rule or a ceiling to tokens that lack some.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from extproc.policy.ceilings import Ceiling
from extproc.policy.cel import Budget, EvaluationError, MissingMemberError
from extproc.policy.mappings import Rule
from extproc.policy.validity import NO_REASON, NOT_VALID
from extproc.values import Identity

_Entry = TypeVar("_Entry", Rule, Ceiling)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The result of evaluating one mapping or ceiling, for explanations.

    Attributes:
        rule: the mapping or ceiling.
        matched: whether it applies.
        error: why it could not be evaluated, or None.
        missing: the missing member that it reads, as in ``claims.act.sub``.
        foreign: whether it is for tokens of other issuers only; then it was not evaluated.
        lacking: required scopes that the token lacks; None where the condition does not apply or no scopes
            are required. A mapping matches only if none are lacking, a deny rule or ceiling only if some are.
        inactive: why it does not count now, whatever its condition; then it was not evaluated.
    """

    rule: Rule | Ceiling
    matched: bool
    error: str | None
    missing: str | None = None
    foreign: bool = False
    lacking: tuple[str, ...] | None = None
    inactive: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """The identity of a decision, with the values that rules read and the budget.

    Attributes:
        now: seconds since the epoch; None if unknown.
        reason: the reason for a break-glass mapping, or None.
    """

    identity: Identity
    scopes: frozenset[str]
    variables: Mapping[str, Any]
    budget: Budget
    now: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Search(Generic[_Entry]):
    """The result of a search through mappings or ceilings.

    Attributes:
        entry: the first that applies, or None.
        evaluated: all that were looked at.
        error: why the last one could not be evaluated, or None.
        but_for_scopes: mappings with a role that would apply if the token had their scopes.
        demanding: deny rules that apply because the token lacks their scopes.
    """

    entry: _Entry | None
    evaluated: tuple[Evaluated, ...]
    error: str | None = None
    but_for_scopes: tuple[_Entry, ...] = ()
    demanding: tuple[_Entry, ...] = ()


def first_match(entries: Sequence[_Entry], subject: Subject) -> Search[_Entry]:
    """Return the first entry that applies; stop at one that cannot be evaluated.

    The search continues after a mapping whose scopes are missing, since a later one may give a role. It
    also continues after a deny rule that scopes would lift: the client is asked for all scopes at once, and
    only if no other rule denies the request anyway.
    """
    evaluated: list[Evaluated] = []
    but_for_scopes: list[_Entry] = []
    demanding: list[_Entry] = []
    found: _Entry | None = None
    for entry in entries:
        if not is_for(entry, subject.identity.issuer):
            evaluated.append(Evaluated(entry, matched=False, error=None, foreign=True))
            continue
        inactive = why_inactive(entry, subject)
        if inactive:
            evaluated.append(Evaluated(entry, matched=False, error=None, inactive=inactive))
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


def counts_always(entry: Rule | Ceiling) -> bool:
    """Return whether the entry counts at any time and without a reason."""
    return isinstance(entry, Ceiling) or entry.counts_always


def counts_whenever(entry: Rule | Ceiling, other: Rule | Ceiling) -> bool:
    """Return whether the entry counts at any time and with any reason with which the other one does."""
    if isinstance(entry, Ceiling) or isinstance(other, Ceiling):
        return counts_always(entry)
    return entry.validity.contains(other.validity) and (other.break_glass or not entry.break_glass)


def why_inactive(entry: Rule | Ceiling, subject: Subject) -> str:
    """Return why a mapping does not count now; empty if it does."""
    if isinstance(entry, Ceiling) or entry.counts_always:  # as ``counts_always``; the type is needed below
        return ""
    if not entry.validity.includes(subject.now, restricts=restricts(entry)):
        return NOT_VALID
    return NO_REASON if entry.break_glass and subject.reason is None else ""


def restricts(entry: Rule | Ceiling) -> bool:
    """Return whether the entry restricts: it then applies where a claim that it reads is missing."""
    return isinstance(entry, Ceiling) or entry.role_arn is None


def is_for(entry: Rule | Ceiling, issuer: str) -> bool:
    """Return whether the entry is for tokens of the issuer."""
    return entry.issuers is None or issuer in entry.issuers


def by_priority(entry: Rule | Ceiling) -> tuple[bool, bool, int]:
    """Return the sort key: all deny rules are first; within each kind the priority decides."""
    return not restricts(entry), entry.priority is None, entry.priority or 0
