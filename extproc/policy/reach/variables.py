"""What atoms depend on: variables, their possible values, and which values exclude each other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from extproc.policy.cel import Path
from extproc.policy.cel.operations import REQUEST_VARIABLES
from extproc.policy.reach.conditions import Atom, Equals, Has, Key, Other, result_at


class Result(Enum):
    """The result of an atom. What a missing member means for restrictions: see ``cel.errors``."""

    FALSE = "false"
    TRUE = "true"
    APPLIES = "a claim is missing"  # the restriction applies, and so does one with the negation
    NOTHING = "a member of the request is missing"  # neither applies
    POSITIVE = "members of both are missing"  # only the restriction applies
    NEGATIVE = "members of both are missing, negated"  # only the one with the negation applies
    ERROR = "error"


_MISSING = frozenset({Result.APPLIES, Result.NOTHING, Result.POSITIVE, Result.NEGATIVE})


class State(Enum):
    """The state of a member that is not one of the constants it is compared with."""

    OTHER = "another value"
    ABSENT = "missing from a map"
    NO_PARENT = "what has it is missing"
    ERROR = "what has it is no map"


_PRESENT_DEPTH = 2
"""Variables are maps, so that their members have a parent without fail."""


@dataclass(frozen=True, slots=True)
class Member:
    """The variable of a member: one of the constants, or a ``State``."""

    path: Path


Variable = Member | Other
Value = Key | State | Result
Assignment = Mapping[Variable, Value]


def variables_of(atoms: Iterable[Atom]) -> dict[Variable, tuple[Value, ...]]:
    """Return the variables of atoms with their possible values, in the order of the atoms."""
    constants: dict[Path, list[Key]] = {}
    found: dict[Variable, tuple[Value, ...]] = {}
    for atom in atoms:
        if isinstance(atom, Equals):
            known = constants.setdefault(atom.path, [])
            if atom.constant not in known:
                known.append(atom.constant)
            found.setdefault(Member(atom.path), ())
        elif isinstance(atom, Has):
            found.setdefault(Member(atom.path), ())
        else:
            if atom.path is not None:
                found.setdefault(Member(atom.path), ())
            found[atom] = _results_of(atom)
    for variable in found:
        if isinstance(variable, Member):
            found[variable] = (*_states_of(variable.path), *constants.get(variable.path, ()))
    return found


def _states_of(path: Path) -> tuple[State, ...]:
    if len(path) < _PRESENT_DEPTH:
        return (State.OTHER,)
    if len(path) == _PRESENT_DEPTH:
        return (State.OTHER, State.ABSENT)
    return (State.OTHER, State.ABSENT, State.NO_PARENT, State.ERROR)


def _results_of(atom: Other) -> tuple[Result, ...]:
    roots = {path[0] for path in atom.reads}
    results = [Result.FALSE, Result.TRUE, Result.ERROR]
    if atom.path is not None and len(atom.path) < _PRESENT_DEPTH:
        return tuple(results)
    of_request, of_token = roots & REQUEST_VARIABLES, roots - REQUEST_VARIABLES
    if of_token or not roots:
        results.append(Result.APPLIES)
    if of_request:
        results.append(Result.NOTHING)
    if of_request and of_token:
        results += [Result.APPLIES, Result.POSITIVE, Result.NEGATIVE]
    return tuple(results)


def result_of(atom: Atom, assigned: Assignment) -> Result | None:
    """Return the result of an atom; None if its variable has no value yet."""
    if isinstance(atom, Other):
        result = assigned.get(atom)
        assert result is None or isinstance(result, Result)  # noqa: S101 - no other values are given to it
        return result
    state = assigned.get(Member(atom.path))
    if state is None:
        return None
    if state is State.ERROR:
        return Result.ERROR
    if state is State.NO_PARENT or (state is State.ABSENT and isinstance(atom, Equals)):
        return _missing(atom.path)
    holds = state is not State.ABSENT if isinstance(atom, Has) else state == atom.constant
    return Result.TRUE if holds else Result.FALSE


def _missing(path: Path) -> Result:
    return Result.NOTHING if path[0] in REQUEST_VARIABLES else Result.APPLIES


def compatible(one: Variable, first: Value, two: Variable, second: Value) -> bool:
    """Return whether two variables may have these values at once; True if that is not known."""
    if isinstance(one, Member) and isinstance(two, Member):
        if len(one.path) > len(two.path):
            one, first, two, second = two, second, one, first
        inside = one.path == two.path[: len(one.path)] and one.path != two.path
        return not inside or _nested(first, second)
    if isinstance(one, Other) and isinstance(two, Other):
        return _tests(one, first, two, second) and _tests(two, second, one, first)
    if isinstance(one, Other):
        one, first, two, second = two, second, one, first
    assert isinstance(one, Member)  # noqa: S101
    assert isinstance(two, Other)  # noqa: S101
    return _read(one.path, first, two, second)


def _nested(outer: Value, inner: Value) -> bool:
    """Return whether a member may be ``inner`` if one around it is ``outer``."""
    if outer in (State.ABSENT, State.NO_PARENT):
        return inner is State.NO_PARENT
    if outer is not State.OTHER:  # a scalar has no members
        return inner is State.ERROR
    return True


def _read(path: Path, state: Value, atom: Other, result: Value) -> bool:
    """Return whether a test may have a result if a member has a state."""
    if not atom.strict:
        return True
    if atom.path == path:
        if isinstance(state, State) and state is not State.OTHER:
            return result is (Result.ERROR if state is State.ERROR else _missing(path))
        # The member is there.
        known = state is not State.OTHER
        return result not in _MISSING and (not known or _at_constant(path, state, atom, result))
    for read in atom.reads:
        if read[: len(path)] != path:
            continue
        has_value = state is State.OTHER or (read == path and not isinstance(state, State))
        if not has_value and result in (Result.TRUE, Result.FALSE):
            return False
    return True


def _at_constant(path: Path, constant: Any, atom: Other, result: Value) -> bool:
    kind, value = constant
    if kind == "number" and (atom.test is None or atom.test[0] not in ("lt", "le")):
        return True  # 3, 3u and 3.0 are equal, and differ in other tests
    known = result_at(atom, path, value)
    return result is (Result.ERROR if known is None else Result.TRUE if known else Result.FALSE)


def _tests(one: Other, first: Value, two: Other, second: Value) -> bool:
    """Return whether two tests of one member may have these results, as far as the first excludes it."""
    if one.path is None or one.path != two.path or one.test is None or two.test is None:
        return True
    if first is not Result.TRUE or second not in (Result.TRUE, Result.FALSE):
        return True
    implied = _implied(*one.test, *two.test)
    return implied is None or implied is (second is Result.TRUE)


def _implied(test: str, constant: Any, other: str, other_constant: Any) -> bool | None:
    """Return the result of the second test where the first is true; None if it may be either."""
    if test in ("lt", "le") and other in ("lt", "le"):
        smaller = constant < other_constant
        return True if smaller or (constant == other_constant and (other == "le" or test == "lt")) else None
    if (test, other) in (("in", "empty"), ("empty", "in")):
        return False
    if test in ("startsWith", "endsWith", "contains") and other == "contains":
        return True if other_constant in constant else None
    if test == other and test in ("startsWith", "endsWith"):
        starts = str.startswith if test == "startsWith" else str.endswith
        if starts(constant, other_constant):
            return True
        return None if starts(other_constant, constant) else False
    return None
