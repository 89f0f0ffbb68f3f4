"""``role_mappings`` and ``ceilings``: the roles of users, and the most that agents may do."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from extproc.config.fields import (
    InlinePolicy,
    Matcher,
    Message,
    Moment,
    PolicyArn,
    RoleArn,
    RuleName,
    ScopeName,
    Section,
    SessionDuration,
    TokenHeader,
    expression,
)
from extproc.policy.arn import validate_any_role_arn
from extproc.policy.matchers import account_expression
from extproc.policy.session_policy import SessionPolicy, session_policy

_ACCOUNT = "{account}"


class Chain(Section):
    """A second role, assumed with the credentials of the first.

    With ``account``, an expression, the role is in the account of ``accounts`` that it returns.
    """

    role_arn: str
    account: Annotated[str, AfterValidator(expression(account_expression))] | None = None
    accounts: list[Annotated[str, Field(pattern=r"^[0-9]{12}$")]] = []
    external_id: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=,.@:/-]*$", min_length=2, max_length=1224)] | None
    ) = None

    @model_validator(mode="after")
    def _roles_are_known(self) -> "Chain":
        if (self.account is None) != (not self.accounts):
            raise ValueError("account and accounts need each other")
        if self.account is not None and self.role_arn.count(_ACCOUNT) != 1:
            raise ValueError(f"role_arn: must have {_ACCOUNT} once, for account")
        for role_arn in self.role_arns.values():
            validate_any_role_arn(role_arn)
        return self

    @property
    def role_arns(self) -> dict[str, str]:
        """Return all possible roles by account; without ``account`` there is one."""
        if self.account is None:
            return {"": self.role_arn}
        return {account: self.role_arn.replace(_ACCOUNT, account) for account in self.accounts}


class RuleSettings(Section):
    """The settings that mappings and ceilings share: condition, issuers, priority, session policy."""

    issuers: Annotated[list[str], Field(min_length=1)] | None = None  # default: all
    claim: Annotated[str, Field(min_length=1)] | None = None
    matcher: Matcher | None = None
    priority: int | None = None
    require_scopes: list[ScopeName] = []  # a role needs them; a restriction spares tokens that have them
    policy_arns: list[PolicyArn] = []
    policy: InlinePolicy | None = None
    message: Message | None = None  # what a client reads that it denies

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if (self.claim is None) == (self.matcher is None):
            raise ValueError("exactly one of claim and matcher is required")
        session_policy(self.policy_arns, self.policy)
        return self

    @property
    def session_policy(self) -> SessionPolicy:
        """Return both kinds of session policies as one value."""
        return session_policy(self.policy_arns, self.policy)


class Valid(Section):
    """The time in which a mapping counts: from the first moment until before the second."""

    begins_at: Moment | None = Field(default=None, alias="from")
    ends_at: Moment | None = Field(default=None, alias="until")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> "Valid":
        if self.begins_at is None and self.ends_at is None:
            raise ValueError("from or until is required")
        if self.begins_at is not None and self.ends_at is not None and self.begins_at >= self.ends_at:
            raise ValueError("until must be later than from")
        return self


class BreakGlass(Section):
    """Where requests have the reason that break-glass mappings need."""

    header: TokenHeader = "x-break-glass-reason"  # never sent to the upstream
    argument: Annotated[str, Field(min_length=1, max_length=64)] | None = None  # of MCP tools


class RoleMapping(RuleSettings):
    """One mapping: the role of tokens and requests that it matches, or their denial."""

    name: RuleName | None = None
    effect: Literal["allow", "deny"] = "allow"
    role_arn: RoleArn | None = None
    session_duration: SessionDuration | None = None
    chain: Chain | None = None
    valid: Valid | None = None
    break_glass: bool = False

    @model_validator(mode="after")
    def _fits_the_effect(self) -> "RoleMapping":
        if self.effect == "allow" and self.role_arn is None:
            raise ValueError("role_arn is required, unless effect is deny")
        given = self.role_arn or self.session_duration or self.chain or self.policy_arns or self.policy
        if self.effect == "deny" and given:
            raise ValueError("effect: deny takes no role_arn, chain, session_duration or session policy")
        if self.effect == "deny" and self.break_glass:
            raise ValueError("break_glass is for a role: effect: deny takes none")
        if self.effect == "allow" and self.message:
            raise ValueError("message is what a denied client reads: it needs effect: deny")
        return self


class CeilingSettings(RuleSettings):
    """The most that an agent may do, whichever user it acts for."""

    name: RuleName
    max_mapping: RuleName | None = None

    @model_validator(mode="after")
    def _one_effect(self) -> "CeilingSettings":
        if (self.max_mapping is not None) == bool(self.session_policy):
            raise ValueError("exactly one of max_mapping and a session policy is required")
        return self
