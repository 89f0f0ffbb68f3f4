"""Mappings and ceilings as functions over atoms: whether one applies, is an error, or lacks scopes."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from extproc.policy.ceilings import Ceiling
from extproc.policy.mappings import Rule
from extproc.policy.reach.conditions import Atom, Formula, Other, formula_of
from extproc.policy.reach.variables import Assignment
from extproc.policy.search import restricts
from extproc.policy_diff.evaluation import Failure, Missing, evaluate, normal

_SCOPE = "scope"


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
    restricts: bool
    is_rule: bool

    def atoms(self) -> Iterator[Atom]:
        """Yield the atoms in reading order."""
        yield from self.formula.atoms()
        yield from self.scopes.atoms()

    def effect(self, assigned: Assignment) -> Effect | None:
        """Return the effect; None if it depends on atoms without a result."""
        value = evaluate(self.formula, assigned)
        if isinstance(value, Failure):
            return Effect.ERROR
        if isinstance(value, Missing):
            value = value.value[0] and self.restricts
        if value is not True:
            return None if value is None else Effect.NOT
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
        self._known: dict[tuple[Formula, Formula, bool, bool], Signature] = {}

    def of(self, entry: Rule | Ceiling) -> Signature:
        """Return the signature of an entry."""
        each = [
            Formula("||", tuple(Formula("", atom=_scope(name)) for name in sorted(enough)))
            for enough in entry.require_scopes.sufficient
        ]
        key = (
            normal(formula_of(entry.matcher)),
            normal(Formula("&&", tuple(each))),
            restricts(entry),
            isinstance(entry, Rule),
        )
        return self._known.setdefault(key, Signature(*key))


def _scope(name: str) -> Other:
    return Other((_SCOPE, name), frozenset(), True, None, None, None)  # noqa: FBT003


def scope_of(atom: object) -> str | None:
    """Return the scope that an atom stands for; None for any other atom."""
    return atom.key[1] if isinstance(atom, Other) and atom.key[0] == _SCOPE else None
