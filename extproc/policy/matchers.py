"""Conditions of mappings and ceilings: a CEL expression, or the short form ``claim``."""

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
"""Variables that a matcher can read."""

_MEMBERS = {"request": REQUEST_MEMBERS, "mcp": mcp.MEMBERS}
"""Members by variable. A misspelt one would always be missing, and a deny rule with it never apply."""


class Matcher(Protocol):
    """The condition of one mapping or ceiling."""

    @property
    def reads(self) -> frozenset[Path]:
        """Return the members of the variables that the condition may read."""
        ...

    @property
    def constant(self) -> bool | None:
        """Return the result if it is the same for every input, else None."""
        ...

    def cost(self, size: int) -> int:
        """Return an upper estimate of the cost in units if every list has ``size`` elements."""
        ...

    def matches(self, variables: Mapping[str, Any], budget: Budget | None = None) -> bool:
        """Return whether the condition certainly applies.

        Raises:
            MissingMemberError: a member that it reads is missing.
            EvaluationError: it cannot be evaluated for another reason.
        """
        ...


@dataclass(frozen=True, slots=True)
class ClaimContains:
    """The short form ``claim``: ``value in claims[claim]``, without CEL, so that no value is code."""

    claim: str
    value: str

    @property
    def reads(self) -> frozenset[Path]:
        """Return the claim."""
        return frozenset({("claims", self.claim)})

    @property
    def constant(self) -> bool | None:
        """Return None: the result depends on the claim."""
        return None

    def cost(self, size: int) -> int:
        """Return the units of reading the list, which happens once for all rules."""
        return size

    def matches(self, variables: Mapping[str, Any], budget: Budget | None = None) -> bool:
        """Return whether the list in the claim has the value; any other type, also null, is an error."""
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


def token_matcher(source: str) -> BoolExpression:
    """Compile a condition on claims alone, as the console's rules are; raises ``ExpressionError``."""
    return compile_bool(source, variables=frozenset({"claims"}))


def account_expression(source: str) -> StringExpression:
    """Compile the expression for the account of a chained role; raises ``ExpressionError``."""
    account = compile_string(source, variables=VARIABLES)
    _check_members(account)
    return account


def name_expression(source: str) -> StringExpression:
    """Compile a ``session_name``; raises ``ExpressionError``.

    It reads the token only: a client must not choose its name in the audit trail.
    """
    return compile_string(source, variables=OF_THE_TOKEN)


def _check_members(expression: BoolExpression | StringExpression) -> None:
    for variable, *rest in sorted(expression.reads):
        members = _MEMBERS.get(variable)
        if members is not None and rest and rest[0] not in members:
            raise ExpressionError(
                f"{variable}.{rest[0]}: there is no such member, only {', '.join(sorted(members))}"
            )
