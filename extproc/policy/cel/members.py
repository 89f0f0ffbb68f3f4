"""Members of maps and elements of lists: ``.name``, ``[...]`` and ``has()``."""

import dataclasses
from collections.abc import Callable
from typing import Any

from extproc.policy.cel import functions, logic
from extproc.policy.cel.budget import Budget
from extproc.policy.cel.code import Code, Frame
from extproc.policy.cel.errors import MissingMemberError, Path, shown
from extproc.policy.cel.operations import REQUEST_VARIABLES, joined
from extproc.policy.cel.values import CelType, no_overload


def member(operand: Code, name: str) -> Code:
    """Return ``operand.name``, which is the same as ``operand["name"]``."""
    path = (*operand.path, name) if operand.path is not None else None
    missing = _missing(path, operand.depends)
    run = logic.strict(operand.run) if operand.mixed else operand.run

    def select(frame: Frame) -> Any:
        value = run(frame)
        if type(value) is not dict:
            raise no_overload(f".{name}", value)
        try:
            return value[name]
        except KeyError:
            raise missing() from None

    return Code(select, operand.nodes + 1, operand.more, path=path, depends=operand.depends)


def element(operand: Code, index: Code) -> Code:
    """Return ``operand[index]``."""
    path = (*operand.path, "[]") if operand.path is not None else None
    missing = _missing(path, operand.depends | index.depends)

    def indexed(container: Any, wanted: Any, _budget: Budget) -> Any:
        try:
            return functions.indexed(container, wanted)
        except KeyError:
            raise missing() from None

    code = joined(logic.both(operand.run, index.run, indexed), operand, index, type=None)
    return dataclasses.replace(code, path=path)


def has_member(operand: Code, name: str) -> Code:
    """Return ``has(operand.name)``."""
    run = operand.run

    def has(frame: Frame) -> bool:
        value = run(frame)
        if type(value) is not dict:
            raise no_overload("has()", value)
        return name in value

    return joined(has, operand, type=CelType.BOOL)


def _missing(path: Path | None, depends: frozenset[str]) -> Callable[[], MissingMemberError]:
    """Return a function that makes the error of a missing member."""
    name = shown(path) if path else "a member"
    of_request = bool(depends) and depends <= REQUEST_VARIABLES
    return lambda: MissingMemberError(name, applies=not of_request)
