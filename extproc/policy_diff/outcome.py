"""Outcomes of decisions, and which of two gives more."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from extproc.errors import Denied
from extproc.values import Grant


class Kind(StrEnum):
    """The kind of a difference."""

    WIDENED = "widened"  # something is given that was not
    NARROWED = "narrowed"
    CHANGED = "changed"  # something else, which may be more: see ``Comparison.gives_more``
    REASON = "reason"  # denied before and after, for another reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one decision gives, as far as it is compared.

    Attributes:
        denied: the reason of the denial; None if a role is given.
        role: the ARN of the role that signs: of a chain, the second.
        by: the ARN of the first role of a chain.
        restrictions: the session policies, which STS unites; empty for an unrestricted session.
        duration: seconds.
        session_name: the name, or what makes it.
        conditions: further settings by name, of which it is not known whether they give more.
        mapping: the name of the mapping; not compared, since a name gives nothing.
        ceiling: the name of the ceiling, not compared either.
    """

    denied: str | None = None
    role: str | None = None
    by: str | None = None
    restrictions: frozenset[str] = frozenset()
    duration: int = 0
    session_name: str = field(default="", repr=False)
    conditions: tuple[tuple[str, str], ...] = ()
    mapping: str | None = field(default=None, compare=False)
    ceiling: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """Return the outcome for people, without the session name."""
        if self.denied is not None:
            return f"denied ({self.denied})" + (f" by mapping {self.mapping}" if self.mapping else "")
        by = f"mapping {self.mapping}" if self.mapping else "fallback_role_arn"
        lowered = f" under ceiling {self.ceiling}" if self.ceiling else ""
        return f"{self.role} by {by}{lowered}"

    def facts(self) -> dict[str, Any]:
        """Return the outcome as JSON, without the session name, which may be a claim."""
        return {"denied": self.denied, "role": self.role, "mapping": self.mapping, "ceiling": self.ceiling}


@dataclass(frozen=True, slots=True)
class Comparison:
    """How an outcome differs from another one.

    Attributes:
        gives_more: whether it gives something that the other does not, or may do so.
        what: the differences, for people.
    """

    kind: Kind
    gives_more: bool
    what: tuple[str, ...] = ()


def outcome_of(outcome: Grant | Denied, *, mapping: str | None = None) -> Outcome:
    """Return a decision's outcome; ``mapping``: the one that denied."""
    if isinstance(outcome, Denied):
        return Outcome(denied=outcome.reason.value, mapping=mapping)
    final = outcome.chain or outcome
    return Outcome(
        role=final.role_arn,
        by=outcome.role_arn if outcome.chain else None,
        restrictions=frozenset(final.policy_arns) | ({final.policy} if final.policy else frozenset()),
        duration=outcome.duration,
        session_name=outcome.session_name,
        conditions=(("external_id", outcome.chain.external_id or ""),) if outcome.chain else (),
        mapping=outcome.mapping,
    )


def compare(before: Outcome, after: Outcome) -> Comparison | None:
    """Return how ``after`` differs from ``before``; None if they are equal."""
    if before == after:
        return None
    if before.denied is not None and after.denied is not None:
        return Comparison(Kind.REASON, gives_more=False)
    if before.denied is not None:
        return Comparison(Kind.WIDENED, gives_more=True)
    if after.denied is not None:
        return Comparison(Kind.NARROWED, gives_more=False)
    if (before.role, before.by) != (after.role, after.by):
        return Comparison(Kind.CHANGED, gives_more=True, what=("another role",))
    changes = list(_changes(before, after))
    more, less = any(change[0] for change in changes), any(change[1] for change in changes)
    kind = Kind.WIDENED if more and not less else Kind.NARROWED if less and not more else Kind.CHANGED
    return Comparison(kind, more, tuple(change[2] for change in changes))


def _changes(before: Outcome, after: Outcome) -> Iterator[tuple[bool, bool, str]]:
    """Yield whether each change may give more, whether it may give less, and what it is."""
    if before.restrictions != after.restrictions:
        yield _of_restrictions(before.restrictions, after.restrictions)
    if before.duration != after.duration:
        longer = after.duration > before.duration
        yield longer, not longer, f"duration {before.duration} s, now {after.duration} s"
    if before.session_name != after.session_name:
        yield False, False, "another session name"
    for name in sorted(_changed(dict(before.conditions), dict(after.conditions))):
        yield True, True, f"another {name}"


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _of_restrictions(before: frozenset[str], after: frozenset[str]) -> tuple[bool, bool, str]:
    # STS unites session policies: of two lists the longer one allows more, and none allows all.
    if not after or (before and after > before):
        return True, False, "session policy removed" if not after else "session policy added to others"
    if not before or after < before:
        return False, True, "session policy added" if not before else "session policy removed from others"
    return True, True, "another session policy"
