"""Build the code of an operation from the code of its operands."""

from collections.abc import Callable
from typing import Any

from extproc.policy.cel import logic
from extproc.policy.cel.budget import Budget
from extproc.policy.cel.code import Code, Cost, Run, total
from extproc.policy.cel.values import TYPES, CelType, equal

REQUEST_VARIABLES = frozenset({"request", "mcp"})
"""Variables whose members are optional in a request."""

Operation = Callable[[Any, Any, Budget], Any]


def constant_code(value: Any) -> Code:
    """Return the code of a constant."""
    return Code(lambda _frame: value, type=TYPES[type(value)], constant=value)


def variable_at(slot: int) -> Run:
    """Return code that reads the variable in a slot of the frame."""
    return lambda frame: frame[slot]


def operation_of(operation: Operation, left: Run, right: Run) -> Run:
    """Return code that applies an operation to two operands."""
    return logic.both(left, right, operation)


def equality_of(left: Code, right: Code) -> Run:
    """Return ``left == right``, in one call fewer where one side is a literal string, as in most rules."""
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
    """Return the code of an operation on ``parts``.

    ``own`` and ``more`` are the units of the operation itself, before and while it runs. ``passes``: it
    handles missing members itself, as ``&&`` and ``||`` do.
    """
    nodes = own + sum(part.nodes for part in parts)
    depends = frozenset[str]().union(*(part.depends for part in parts))
    mixed = any(part.mixed for part in parts) or (passes and len(depends) > 1)
    if mixed and not passes:
        run, mixed = logic.strict(run), False
    cost = total(more, *(part.more for part in parts))
    return Code(run, nodes, cost, type=type, depends=depends, mixed=mixed)
