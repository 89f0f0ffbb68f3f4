"""The search for results of atoms that meet requirements, and what such results have in common."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from extproc.policy.cel import Path
from extproc.policy.reach.variables import Member, Result, State, Value, Variable, compatible, variables_of
from extproc.policy_diff.entries import Effect, Signature, is_beside, period_of

MAX_STEPS = 20_000
"""Values that are tried for one question."""
_MOST_COMBINATIONS = 64

Requirements = Mapping[Signature, frozenset[Effect]]
"""The effects that each entry may have."""
Cube = Mapping[Variable, frozenset[Value]]
"""Results that suffice, whatever all other results are."""


class UndecidedError(Exception):
    """The search takes too long."""


@dataclass(slots=True)
class _Search:
    requirements: Requirements
    variables: list[tuple[Variable, tuple[Value, ...]]]
    blocked: Sequence[Cube]
    related: Mapping[Variable, list[Variable]]
    concerned: Mapping[Variable, list[Signature]]
    open: set[Signature]  # requirements that are neither met nor violated
    steps: int = 0

    def run(self, assigned: dict[Variable, Value], depth: int) -> dict[Variable, Value] | None:
        if any(_is_inside(assigned, cube) for cube in self.blocked):
            return None
        if depth == len(self.variables):
            return dict(assigned)
        variable, values = self.variables[depth]
        for value in values:
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise UndecidedError
            if all(fits(variable, value, other, assigned[other]) for other in self.related[variable]):
                assigned[variable] = value
                settled = self._settled(variable, assigned)
                if settled is not None:
                    self.open -= settled
                    found = self.run(assigned, depth + 1)
                    self.open |= settled
                    if found is not None:
                        return found
                del assigned[variable]
        return None

    def _settled(self, variable: Variable, assigned: dict[Variable, Value]) -> set[Signature] | None:
        """Return the requirements that a variable's value meets; None if it violates one."""
        settled = set()
        for entry in self.concerned[variable]:
            if entry in self.open:
                effect = entry.effect(assigned)
                if effect is not None:
                    if effect not in self.requirements[entry]:
                        return None
                    settled.add(entry)
        return settled


def domains(signatures: Iterable[Signature]) -> dict[Variable, tuple[Value, ...]]:
    """Return all variables of entries with their possible values."""
    found = variables_of(atom for signature in signatures for atom in signature.atoms())
    for variable, values in found.items():
        if is_beside(variable):
            found[variable] = (Result.FALSE, Result.TRUE)
        else:  # claims have the types that the rules expect
            found[variable] = tuple(each for each in values if each not in (Result.ERROR, State.ERROR))
    return found


def fits(one: Variable, first: Value, two: Variable, second: Value) -> bool:
    """Return whether two variables may have these values at once; True if that is not known."""
    periods = period_of(one), period_of(two)
    if periods[0] is None or periods[1] is None:
        return compatible(one, first, two, second)
    # Each period is constant between two of all the moments, so one moment of each kind tells.
    moments = [at for each in periods if each for at in (each.begins_at, each.ends_at) if at is not None]
    return any(
        all(
            period.includes(now, restricts=False) is (value is Result.TRUE)
            for period, value in zip(periods, (first, second), strict=True)
            if period is not None
        )
        for now in (min(moments) - 1, *moments)
    )


def _related(variables: Iterable[Variable]) -> dict[Variable, list[Variable]]:
    """Return for each variable those before it whose results may depend on its own."""
    by_member: dict[Path, list[Variable]] = {}
    found: dict[Variable, list[Variable]] = {}
    for variable in variables:
        members = [variable.path] if isinstance(variable, Member) else variable.reads
        keys = {path[:2] for path in members} | {path[:1] for path in members}
        if period_of(variable) is not None:
            found[variable] = [other for other in found if period_of(other) is not None]
            continue
        found[variable] = [
            other
            for key in keys
            # Paths of one variable concern each other if one of them is the variable itself.
            if len(key) > 1 or any(len(path) == 1 for path in members)
            for other in by_member.get(key, ())
        ]
        for key in keys:
            by_member.setdefault(key, []).append(variable)
    return found


def find(
    requirements: Requirements,
    variables: Mapping[Variable, tuple[Value, ...]],
    blocked: Sequence[Cube] = (),
) -> dict[Variable, Value] | None:
    """Return results that meet the requirements, outside the blocked cubes; None if there are none.

    Args:
        requirements: the entries, each with its possible effects.
        variables: their ``domains``, in the order in which they are tried.
        blocked: results that are found already.

    Raises:
        UndecidedError: the search takes too long.
    """
    concerned: dict[Variable, list[Signature]] = {variable: [] for variable in variables}
    for entry, allowed in requirements.items():
        effect = entry.effect({})
        if effect is not None and effect not in allowed:
            return None
        for variable in domains([entry]):
            concerned[variable].append(entry)
    search = _Search(
        requirements, list(variables.items()), blocked, _related(variables), concerned, set(requirements)
    )
    return search.run({}, 0)


def generalized(
    found: Mapping[Variable, Value],
    requirements: Requirements,
    known: Mapping[Variable, tuple[Value, ...]],
) -> Cube:
    """Return the results that suffice for the requirements: without any of them they would not."""
    needed = {v: found[v] for v in domains(requirements)}

    def suffices(results: Mapping[Variable, Value]) -> bool:
        return all(entry.effect(results) in allowed for entry, allowed in requirements.items())

    for variable in reversed(list(needed)):
        fewer = {v: value for v, value in needed.items() if v is not variable}
        if suffices(fewer):
            needed = fewer
    sets = {v: frozenset(x for x in known[v] if suffices({**needed, v: x})) for v in needed}
    size = 1
    for values in sets.values():
        size *= len(values)
    if size <= _MOST_COMBINATIONS and all(
        suffices(dict(zip(sets, each, strict=True))) for each in itertools.product(*sets.values())
    ):
        return sets
    return {v: frozenset({x}) for v, x in needed.items()}


def _is_inside(assigned: Mapping[Variable, Value], cube: Cube) -> bool:
    return all(variable in assigned and assigned[variable] in values for variable, values in cube.items())
