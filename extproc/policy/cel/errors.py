"""Errors of expressions: at compilation, and at evaluation."""

import json
import re

Path = tuple[str, ...]
"""A member of a variable: ``("claims", "act", "sub")`` is ``claims.act.sub``; ``[]`` is any element."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def shown(path: Path) -> str:
    """Return a member as an expression writes it: ``claims.act.sub``, ``claims["https://x/y"]``."""
    variable, *names = path
    return variable + "".join(map(_step, names))


def _step(name: str) -> str:
    if name == "[]":
        return name
    return f".{name}" if _IDENTIFIER.fullmatch(name) else f"[{json.dumps(name, ensure_ascii=False)}]"


class ExpressionError(ValueError):
    """An invalid expression; the message says where and why."""


class EvaluationError(Exception):
    """An evaluation failed. The message never contains a value of the claims."""


class CelError(EvaluationError):
    """An error of the CEL specification, which ``&&``, ``||`` and macros can absorb."""


class MissingMemberError(CelError):
    """The expression selects a missing member. The kind of rule determines the consequence.

    For a deny rule or a ceiling, a missing claim counts as true and a missing member of the request as
    false. Under ``!`` it is the other way round.

    Attributes:
        member: the member, as in ``claims.act.sub``.
        applies: whether a deny rule or ceiling with this expression applies.
        applies_negated: whether one with its negation applies.
    """

    def __init__(self, member: str, *, applies: bool, applies_negated: bool | None = None) -> None:
        super().__init__(f"{member} is missing")
        self.member = member
        self.applies = applies
        self.applies_negated = applies if applies_negated is None else applies_negated

    def negated(self) -> "MissingMemberError":
        """Return the error of the expression's negation."""
        return MissingMemberError(self.member, applies=self.applies_negated, applies_negated=self.applies)

    def in_function(self) -> "MissingMemberError":
        """Return the error of a function with this error in an argument: its negation proves nothing."""
        return MissingMemberError(self.member, applies=self.applies or self.applies_negated)


def graver(first: CelError | None, second: CelError, *, decisive: bool = False) -> CelError:
    """Return the error of an operator whose operands have these two errors.

    Any other error outweighs a missing member, which may mean "no match". ``decisive`` is True for
    ``||``, where one missing claim suffices for a deny rule to apply, and False for ``&&`` and
    functions, where one missing member of the request suffices for it not to apply.
    """
    if first is None:
        return second
    if not isinstance(first, MissingMemberError):
        return first
    if not isinstance(second, MissingMemberError):
        return second
    some, every = (any, all) if decisive else (all, any)
    return MissingMemberError(
        second.member if second.applies and not first.applies else first.member,
        applies=some((first.applies, second.applies)),
        applies_negated=every((first.applies_negated, second.applies_negated)),
    )
