"""Conditions of mappings and ceilings: a CEL expression, or the ``claim`` sugar."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from extproc.policy import mcp
from extproc.policy.cel import (
    BoolExpression,
    Budget,
    EvaluationError,
    ExpressionError,
    MissingMemberError,
    Path,
    StringExpression,
    compile_bool,
    compile_string,
    shown,
)
from extproc.policy.inputs import REQUEST_MEMBERS

OF_THE_TOKEN = frozenset({"claims", "agents"})
"""Variables that are the same for all requests with one token."""

VARIABLES = OF_THE_TOKEN | {"request", "mcp"}
"""What a matcher can read."""

_MEMBERS = {"request": REQUEST_MEMBERS, "mcp": mcp.MEMBERS}
"""A misspelt one would never be there, and a deny rule that reads it would never apply."""


class Matcher(Protocol):
    """Decides whether one mapping applies."""

    @property
    def reads(self) -> frozenset[Path]:
        """The members of the variables that it may read."""
        ...

    @property
    def constant(self) -> bool | None:
        """Its result, if nothing can change it."""
        ...

    def cost(self, size: int) -> int:
        """Return an upper estimate of its units, if every list has ``size`` elements."""
        ...

    def matches(self, variables: Mapping[str, Any], budget: Budget | None = None) -> bool:
        """True only if it certainly applies.

        Raises:
            MissingMemberError: it reads something that is not there.
            EvaluationError: it cannot be told for another reason.
        """
        ...


@dataclass(frozen=True, slots=True)
class ClaimContains:
    """The ``claim`` sugar: ``value in claims[claim]``, compared in Python, so that no value can be CEL."""

    claim: str
    value: str

    @property
    def reads(self) -> frozenset[Path]:
        """The one claim."""
        return frozenset({("claims", self.claim)})

    @property
    def constant(self) -> bool | None:
        """Never: it depends on the claim."""
        return None

    def cost(self, size: int) -> int:
        """Return the units of reading the list, which is done once for all rules."""
        return size

    def matches(self, variables: Mapping[str, Any], budget: Budget | None = None) -> bool:
        """Whether the claim is a list that has the value; null and every other type is an error."""
        claims = variables["claims"]
        if self.claim not in claims:  # CEL maps have no get() with a default
            raise MissingMemberError(shown(("claims", self.claim)), applies=True)
        values = claims[self.claim]
        if not isinstance(values, list):
            raise EvaluationError("the role claim is not a list")
        return self.value in (budget or Budget()).strings_of(values).distinct


def cel_matcher(source: str) -> BoolExpression:
    """Compile a ``matcher``; raises ``ExpressionError``."""
    condition = compile_bool(source, variables=VARIABLES)
    _check_members(condition)
    return condition


def account_expression(source: str) -> StringExpression:
    """Compile what chooses the account of a chained role; raises ``ExpressionError``."""
    text = compile_string(source, variables=VARIABLES)
    _check_members(text)
    return text


def name_expression(source: str) -> StringExpression:
    """Compile a ``session_name``; raises ``ExpressionError``.

    Over the token only: a caller must not choose how the audit trail names him.
    """
    return compile_string(source, variables=OF_THE_TOKEN)


def _check_members(expression: BoolExpression | StringExpression) -> None:
    for variable, *rest in sorted(expression.reads):
        members = _MEMBERS.get(variable)
        if members is not None and rest and rest[0] not in members:
            raise ExpressionError(
                f"{variable}.{rest[0]}: there is no such member, only {', '.join(sorted(members))}"
            )
