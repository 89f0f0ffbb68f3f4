"""Role mappings: the roles of tokens and requests, or their denial."""

from collections.abc import Mapping
from dataclasses import dataclass

from extproc.policy.cel import Path, StringExpression
from extproc.policy.matchers import Matcher
from extproc.policy.session_policy import UNRESTRICTED, SessionPolicy
from extproc.policy.validity import ALWAYS, Validity
from extproc.scopes import NO_SCOPES, RequiredScopes
from extproc.values import ChainedRole


@dataclass(frozen=True, slots=True)
class AccountSelector:
    """Selects the account of a chained role from a list, by an expression."""

    expression: StringExpression
    role_arns: Mapping[str, str]  # by account

    @property
    def reads(self) -> frozenset[Path]:
        """Return the members of the variables that the expression may read."""
        return self.expression.reads


@dataclass(frozen=True, slots=True)
class Rule:
    """One role mapping.

    Attributes:
        role_arn: the role; None for a deny rule.
        priority: lower is first; None is last.
        session_duration: seconds; None for the policy's default.
        issuers: issuers of the tokens that it applies to; None for all.
        message: what a denied client reads; empty for a text that depends on what the rule reads.
        require_scopes: scopes that a token needs for the role; a deny rule spares tokens that have them.
        validity: when it counts.
        break_glass: whether a request needs a reason for it.
    """

    name: str
    matcher: Matcher
    role_arn: str | None
    priority: int | None
    chain: ChainedRole | None = None
    session_policy: SessionPolicy = UNRESTRICTED
    session_duration: int | None = None
    account: AccountSelector | None = None
    issuers: frozenset[str] | None = None
    message: str = ""
    require_scopes: RequiredScopes = NO_SCOPES
    validity: Validity = ALWAYS
    break_glass: bool = False

    @property
    def counts_always(self) -> bool:
        """Return whether its condition and scopes alone decide."""
        return self.validity == ALWAYS and not self.break_glass

    @property
    def reads(self) -> frozenset[Path]:
        """Return the members of the variables that the mapping may read."""
        return self.matcher.reads | (self.account.reads if self.account else frozenset())
