"""Formulas under results of some of their atoms, exactly as ``policy.cel.logic`` evaluates conditions."""

from enum import Enum

from extproc.policy.reach.conditions import Formula
from extproc.policy.reach.variables import Assignment, Result, result_of


class Missing(Enum):
    """A missing member: whether a restriction applies, and whether one with the negation does."""

    APPLIES = (True, True)
    NOTHING = (False, False)
    POSITIVE = (True, False)
    NEGATIVE = (False, True)


class Failure(Enum):
    """Any other error."""

    ERROR = "error"


Value = bool | Missing | Failure
_VALUES: dict[Result, Value] = {
    Result.TRUE: True,
    Result.FALSE: False,
    Result.ERROR: Failure.ERROR,
    Result.APPLIES: Missing.APPLIES,
    Result.NOTHING: Missing.NOTHING,
    Result.POSITIVE: Missing.POSITIVE,
    Result.NEGATIVE: Missing.NEGATIVE,
}


def evaluate(formula: Formula, assigned: Assignment) -> Value | None:
    """Return the value of a formula; None if it depends on atoms without a result."""
    if formula.atom is not None:
        result = result_of(formula.atom, assigned)
        return None if result is None else _VALUES[result]
    if formula.operator == "!":
        value = evaluate(formula.operands[0], assigned)
        if isinstance(value, Missing):
            return Missing((value.value[1], value.value[0]))
        return not value if isinstance(value, bool) else value
    decisive = formula.operator == "||"
    found: Value = not decisive
    unknown = False
    for operand in formula.operands:
        value = evaluate(operand, assigned)
        if value is decisive:
            return decisive
        if value is None:
            unknown = True
        elif not isinstance(value, bool):
            found = _graver(found, value, decisive=decisive)
    return None if unknown else found


def _graver(first: Value, second: Missing | Failure, *, decisive: bool) -> Value:
    if isinstance(first, Failure) or isinstance(second, Failure):
        return Failure.ERROR
    if not isinstance(first, Missing):
        return second
    some, every = (any, all) if decisive else (all, any)
    pairs = list(zip(first.value, second.value, strict=True))
    return Missing((some(pairs[0]), every(pairs[1])))


def normal(formula: Formula) -> Formula:
    """Return a form that is equal for formulas that differ in order, repetition and ``!`` only."""
    return _normal(formula, positive=True)


def _normal(formula: Formula, *, positive: bool) -> Formula:
    if formula.atom is not None:
        return formula if positive else Formula("!", (formula,))
    if formula.operator == "!":
        return _normal(formula.operands[0], positive=not positive)
    operator = formula.operator if positive else {"&&": "||", "||": "&&"}[formula.operator]
    operands: dict[Formula, None] = {}
    for operand in formula.operands:
        inner = _normal(operand, positive=positive)
        operands.update(dict.fromkeys(inner.operands if inner.operator == operator else (inner,)))
    if len(operands) == 1:
        return next(iter(operands))
    return Formula(operator, tuple(sorted(operands, key=_order)))


def _order(formula: Formula) -> str:
    key = getattr(formula.atom, "key", formula.atom)
    return f"{formula.operator}{key!r}({','.join(map(_order, formula.operands))})"
