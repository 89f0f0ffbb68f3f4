"""Errors of expressions: those found when they compile, and those of one evaluation."""

import json
import re

Path = tuple[str, ...]
"""A member of a variable: ``("claims", "act", "sub")`` is ``claims.act.sub``, ``[]`` any element."""


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
    """An expression that cannot be used; the message says where and why."""


class EvaluationError(Exception):
    """An evaluation without a result. The message never holds a value of the claims."""


class CelError(EvaluationError):
    """An error as the CEL specification defines it: ``&&``, ``||`` and the macros can absorb it."""


class MissingMemberError(CelError):
    """The expression selects a member that is not there; what that means is for the kind of rule to say.

    A deny rule or a ceiling reads a missing claim as true and a missing member of the request as
    false, and so under ``!`` the other way round.

    Attributes:
        member: as in ``claims.act.sub``.
        applies: what the expression comes to under this reading.
        applies_negated: what its negation comes to.
    """

    def __init__(self, member: str, *, applies: bool, applies_negated: bool | None = None) -> None:
        super().__init__(f"{member} is missing")
        self.member = member
        self.applies = applies
        self.applies_negated = applies if applies_negated is None else applies_negated

    def negated(self) -> "MissingMemberError":
        """Return the error of ``!`` of the expression."""
        return MissingMemberError(self.member, applies=self.applies_negated, applies_negated=self.applies)

    def in_function(self) -> "MissingMemberError":
        """Return the error of a function of the expression, whose negation says nothing about it."""
        return MissingMemberError(self.member, applies=self.applies or self.applies_negated)


def graver(first: CelError | None, second: CelError, *, decisive: bool = False) -> CelError:
    """Return the error of an operator whose operands have these two.

    A missing member may be "no match", so any other error counts more. ``decisive``: True for
    ``||``, where one missing claim is enough for a deny rule to apply; False for ``&&`` and
    functions, where one member that the request does not have is enough for it not to.
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
