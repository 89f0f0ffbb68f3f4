"""The search for results of atoms under which one rule applies, and none of the earlier ones does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from extproc.policy.reach.conditions import Formula
from extproc.policy.reach.variables import (
    Assignment,
    Result,
    Value,
    Variable,
    compatible,
    result_of,
    variables_of,
)

MAX_STEPS = 2_000
"""Values that are tried for one question. Most need as many as there are variables."""
MAX_VARIABLES = 200


class UndecidedError(Exception):
    """The search takes too long."""


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a rule.

    Attributes:
        restricts: whether it applies where a claim is missing, as that of a deny rule or a ceiling does.
        ends: whether an error counts as true: it ends the search. An error that is absorbed never counts.
        strictly: whether a missing member counts as false, even in a restriction.
    """

    formula: Formula
    restricts: bool
    ends: bool = False
    strictly: bool = False

    def holds(self, assigned: Assignment) -> bool | None:
        """Return whether it holds; None if that depends on variables without a value."""
        return self._holds(self.formula, assigned, positive=True)

    def _holds(self, formula: Formula, assigned: Assignment, *, positive: bool) -> bool | None:
        # Two values for each part: whether it holds, and whether its negation does. With a missing claim
        # both do, with a missing member of the request neither. So "&&" and "||" need no third value.
        if formula.atom is not None:
            result = result_of(formula.atom, assigned)
            return None if result is None else self._counts(result, positive=positive)
        if formula.operator == "!":
            return self._holds(formula.operands[0], assigned, positive=not positive)
        decisive = (formula.operator == "||") is positive
        known: bool | None = not decisive
        for operand in formula.operands:
            holds = self._holds(operand, assigned, positive=positive)
            if holds is decisive:
                return decisive
            if holds is None:
                known = None
        return known

    def _counts(self, result: Result, *, positive: bool) -> bool:
        if result in (Result.TRUE, Result.FALSE):
            return (result is Result.TRUE) is positive
        if result is Result.ERROR:
            return self.ends
        if not self.restricts or self.strictly:
            return False
        return result is Result.APPLIES or result is (Result.POSITIVE if positive else Result.NEGATIVE)


def is_possible(wanted: Condition, others: Sequence[Condition]) -> bool:
    """Return whether ``wanted`` may hold while none of ``others`` does.

    False is certain; True is not, since not everything is known of atoms.

    Raises:
        UndecidedError: the search takes too long.
    """
    atoms = [atom for entry in (wanted, *others) for atom in entry.formula.atoms()]
    variables = variables_of(atoms)
    if len(variables) > MAX_VARIABLES:
        raise UndecidedError
    return _Search(wanted, variables).succeeds(list(others), {}, 0)


class _Search:
    """One search, which counts its steps."""

    def __init__(self, wanted: Condition, variables: Mapping[Variable, tuple[Value, ...]]) -> None:
        self._wanted = wanted
        self._variables = list(variables.items())
        self._steps = 0

    def succeeds(self, others: Sequence[Condition], assigned: dict[Variable, Value], depth: int) -> bool:
        if self._wanted.holds(assigned) is False:
            return False
        open_others = []
        for other in others:
            holds = other.holds(assigned)
            if holds:
                return False
            if holds is None:
                open_others.append(other)
        if depth == len(self._variables):
            return True
        variable, values = self._variables[depth]
        for value in values:
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise UndecidedError
            if all(compatible(variable, value, known, there) for known, there in assigned.items()):
                assigned[variable] = value
                if self.succeeds(open_others, assigned, depth + 1):
                    return True
                del assigned[variable]
        return False
