"""``&&``, ``||``, ``!`` and ``?:``: one decisive operand outweighs the errors of all others."""

from collections.abc import Callable, Sequence
from typing import Any

from extproc.policy.cel.code import Frame, Run
from extproc.policy.cel.errors import CelError, MissingMemberError, graver
from extproc.policy.cel.values import no_overload

ERROR_COST = 25
"""Units of catching an error."""


def chain(operands: Sequence[Run], *, decisive: bool) -> Run:
    """Return ``||`` (``decisive`` true) or ``&&`` over any number of operands."""
    name = "||" if decisive else "&&"

    def run(frame: Frame) -> Any:
        problem: CelError | None = None
        for operand in operands:
            try:
                value = operand(frame)
            except CelError as error:
                frame[0].spend(ERROR_COST)
                problem = graver(problem, error, decisive=decisive)
                continue
            if value is decisive:
                return decisive
            if type(value) is not bool:
                frame[0].spend(ERROR_COST)
                problem = graver(problem, no_overload(name, value))
        if problem is not None:
            raise problem
        return not decisive

    return run


def strict(run: Run) -> Run:
    """Return code whose missing members of claims and request count as those of a function's argument."""

    def call(frame: Frame) -> object:
        try:
            return run(frame)
        except MissingMemberError as error:
            raise error.in_function() from None

    return call


def both(left: Run, right: Run, operation: Callable[[Any, Any, Any], Any]) -> Run:
    """Return code of an operation; if members of both operands are missing, the error combines them."""

    def run(frame: Frame) -> Any:
        try:
            value = left(frame)
        except MissingMemberError as error:
            try:
                right(frame)
            except CelError as other:
                raise graver(error, other) from None
            raise
        return operation(value, right(frame), frame[0])

    return run


def negation(operand: Run) -> Run:
    """Return ``!operand``."""

    def run(frame: Frame) -> bool:
        try:
            value = operand(frame)
        except MissingMemberError as error:
            raise error.negated() from None
        if type(value) is not bool:
            raise no_overload("!", value)
        return not value

    return run


def conditional(condition: Run, left: Run, right: Run) -> Run:
    """Return ``condition ? left : right``, of which only one is evaluated."""

    def run(frame: Frame) -> object:
        value = condition(frame)
        if type(value) is not bool:
            raise no_overload("?:", value)
        return left(frame) if value else right(frame)

    return run
