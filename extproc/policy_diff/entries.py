"""Mappings and ceilings as functions over atoms: whether one applies, is an error, or lacks scopes."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from extproc.policy.ceilings import Ceiling
from extproc.policy.mappings import Rule
from extproc.policy.reach.conditions import Atom, Formula, Other, formula_of
from extproc.policy.reach.variables import Assignment
from extproc.policy.search import restricts
from extproc.policy.validity import ALWAYS, Validity
from extproc.policy_diff.evaluation import Failure, Missing, evaluate, normal

_SCOPE, _PERIOD, _REASON = "scope", "period", "reason"


class Effect(Enum):
    """The result of one entry in the search for the first that applies."""

    APPLIES = "applies"
    NOT = "does not apply"
    LACKS = "applies but for scopes"  # a mapping: the search goes on, and may end in a denial
    ERROR = "error"


ONWARD = frozenset({Effect.NOT, Effect.LACKS})
"""The search goes on."""


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """What decides whether an entry applies. ``Signatures`` makes one object of equal ones."""

    formula: Formula
    scopes: Formula
    active: Formula  # whether it counts: its period, and a reason for break glass
    restricts: bool
    is_rule: bool

    def atoms(self) -> Iterator[Atom]:
        """Yield the atoms in reading order."""
        yield from self.formula.atoms()
        yield from self.scopes.atoms()
        yield from self.active.atoms()

    def effect(self, assigned: Assignment) -> Effect | None:  # noqa: PLR0911 - one line for each effect
        """Return the effect; None if it depends on atoms without a result."""
        active = evaluate(self.active, assigned)
        if active is False:
            return Effect.NOT
        value = evaluate(self.formula, assigned)
        if isinstance(value, Missing):
            value = value.value[0] and self.restricts
        if value is False:
            return Effect.NOT
        if value is None or active is None:
            return None
        if isinstance(value, Failure):
            return Effect.ERROR
        has = evaluate(self.scopes, assigned)
        if not self.scopes.operands and self.scopes.atom is None:
            return Effect.APPLIES
        if has is None:
            return None
        if self.restricts:
            return Effect.NOT if has else Effect.APPLIES
        return Effect.APPLIES if has else Effect.LACKS


class Signatures:
    """The signatures of the entries of two policies."""

    def __init__(self) -> None:
        self._known: dict[tuple[Formula, Formula, Formula, bool, bool], Signature] = {}

    def of(self, entry: Rule | Ceiling) -> Signature:
        """Return the signature of an entry."""
        each = [
            Formula("||", tuple(Formula("", atom=_beside(_SCOPE, name)) for name in sorted(enough)))
            for enough in entry.require_scopes.sufficient
        ]
        key = (
            normal(formula_of(entry.matcher)),
            normal(Formula("&&", tuple(each))),
            normal(Formula("&&", tuple(Formula("", atom=atom) for atom in _active(entry)))),
            restricts(entry),
            isinstance(entry, Rule),
        )
        return self._known.setdefault(key, Signature(*key))


def _active(entry: Rule | Ceiling) -> Iterator[Other]:
    if isinstance(entry, Rule):
        if entry.validity != ALWAYS:
            yield _beside(_PERIOD, entry.validity)
        if entry.break_glass:
            yield _beside(_REASON, None)


def _beside(kind: str, value: object) -> Other:
    """Return an atom for what is no part of a condition, and always true or false."""
    return Other((kind, value), frozenset(), True, None, None, None)  # noqa: FBT003


def is_beside(atom: object) -> bool:
    """Return whether an atom is no part of a condition."""
    return isinstance(atom, Other) and atom.key[0] in (_SCOPE, _PERIOD, _REASON)


def scope_of(atom: object) -> str | None:
    """Return the scope that an atom stands for; None for any other atom."""
    return atom.key[1] if isinstance(atom, Other) and atom.key[0] == _SCOPE else None


def period_of(atom: object) -> Validity | None:
    """Return the period that an atom stands for; None for any other atom."""
    return atom.key[1] if isinstance(atom, Other) and atom.key[0] == _PERIOD else None
