"""Role mappings: which tokens and requests get a role, or are denied."""

from collections.abc import Mapping
from dataclasses import dataclass

from extproc.policy.cel import Path, StringExpression
from extproc.policy.matchers import Matcher
from extproc.policy.session_policy import UNRESTRICTED, SessionPolicy
from extproc.scopes import NO_SCOPES, RequiredScopes
from extproc.values import ChainedRole


@dataclass(frozen=True, slots=True)
class AccountSelector:
    """The account of a chained role, chosen by an expression out of a list."""

    expression: StringExpression
    role_arns: Mapping[str, str]  # by account

    @property
    def reads(self) -> frozenset[Path]:
        """The members of the variables that it may read."""
        return self.expression.reads


@dataclass(frozen=True, slots=True)
class Rule:
    """One role mapping.

    Attributes:
        role_arn: None: it denies.
        priority: None: after all that have one.
        issuers: of whose tokens; None: of all.
        session_duration: seconds; None: the policy's.
        message: what a client reads that it denies; empty: a text by what it reads.
        require_scopes: those without which no role is given; of a deny rule, those with which it lets pass.
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

    @property
    def reads(self) -> frozenset[Path]:
        """The members of the variables that it may read."""
        return self.matcher.reads | (self.account.reads if self.account else frozenset())
