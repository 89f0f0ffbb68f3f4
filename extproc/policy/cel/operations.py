"""How the code of an operation is made of the code of its operands."""

from collections.abc import Callable
from typing import Any

from extproc.policy.cel import logic
from extproc.policy.cel.budget import Budget
from extproc.policy.cel.code import Code, Cost, Run, total
from extproc.policy.cel.values import TYPES, CelType, equal

REQUEST_VARIABLES = frozenset({"request", "mcp"})
"""The variables of which a request need not have every member."""

Operation = Callable[[Any, Any, Budget], Any]


def constant_code(value: Any) -> Code:
    """Return the code of a value that nothing changes."""
    return Code(lambda _frame: value, type=TYPES[type(value)], constant=value)


def variable_at(place: int) -> Run:
    """Return what reads a variable."""
    return lambda frame: frame[place]


def operation_of(operation: Operation, left: Run, right: Run) -> Run:
    """Return an operation of two operands."""
    return logic.both(left, right, operation)


def equality_of(left: Code, right: Code) -> Run:
    """Return ``==``. Comparing with a literal string, most of what rules do, takes no further call."""
    for one, other in ((left, right), (right, left)):
        if type(one.constant) is str:
            wanted, run = one.constant, other.run
            return lambda frame: run(frame) == wanted
    return operation_of(equal, left.run, right.run)


def joined(
    run: Run,
    *parts: Code,
    type: CelType | None,  # noqa: A002
    more: Cost = (),
    passes: bool = False,
    own: int = 1,
) -> Code:
    """Return the code of an operation.

    ``passes``: it minds itself which members are missing. ``own``: its units, besides those of its parts.
    """
    nodes = own + sum(part.nodes for part in parts)
    depends = frozenset[str]().union(*(part.depends for part in parts))
    mixed = any(part.mixed for part in parts) or (passes and len(depends) > 1)
    if mixed and not passes:
        run, mixed = logic.strict(run), False
    cost = total(more, *(part.more for part in parts))
    return Code(run, nodes, cost, type=type, depends=depends, mixed=mixed)
