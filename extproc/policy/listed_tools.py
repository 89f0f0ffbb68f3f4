"""Which tools of a list a caller may call: the rules decide, by a tool's name and with unknown arguments.

This is a convenience and no boundary: each call is decided by itself. So a tool stays in the list where its
arguments could decide. A rule that needs them counts as one that gives its role, and as no restriction.

Unknown is ``null`` in place of ``mcp.arguments``, and of an ``mcp.aws`` that they determine: a member of null
is an error, which CEL's ``&&`` and ``||`` absorb where their other operand decides. Rules that read either as
a whole are not evaluated.
"""

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from extproc.errors import Reason
from extproc.policy import tools
from extproc.policy.cel import Budget, EvaluationError, MissingMemberError, Path
from extproc.policy.inputs import Inputs
from extproc.policy.matchers import Matcher
from extproc.policy.rules import Policy, Rule
from extproc.policy.search import restricts
from extproc.values import Grant, Identity

_UNKNOWN: frozenset[Path] = frozenset({("mcp", "arguments"), ("mcp", "aws")})
_WHOLE: frozenset[Path] = _UNKNOWN | {("mcp",), ("mcp", "[]")}
_REASON = "a reason that the call may give"


@dataclass(frozen=True, slots=True)
class _Assuming:
    """A condition with an assumed result where the arguments decide. ``inner``: the condition itself."""

    inner: Matcher
    assumed: bool

    @property
    def reads(self) -> frozenset[Path]:
        return self.inner.reads

    @property
    def constant(self) -> bool | None:
        return self.inner.constant

    def cost(self, size: int) -> int:
        return self.inner.cost(size)

    def matches(self, variables: Mapping[str, Any], budget: Budget | None = None) -> bool:
        if not self.inner.reads.isdisjoint(_WHOLE):
            return self.assumed
        try:
            return self.inner.matches(variables, budget)
        except MissingMemberError:
            raise  # whatever the arguments are
        except EvaluationError:
            return self.assumed


class ListedTools:
    """Decides about the tools in lists under one policy. Evaluates CEL: not for the event loop."""

    def __init__(self, policy: Policy) -> None:
        self._policy = copy.copy(policy)
        self._policy.rules = [_assuming(rule, not restricts(rule)) for rule in policy.rules]
        self._policy.ceilings = [_assuming(ceiling, False) for ceiling in policy.ceilings]  # noqa: FBT003
        self.cost_limit = policy.cost_limit

    def may_be_called(self, name: str, identity: Identity, inputs: Inputs) -> tuple[bool, int]:
        """Return whether some call of the tool may be allowed, and the cost of the decision.

        ``inputs`` are those of the request for the list. A call that only lacks scopes counts as allowed,
        since its denial is what makes clients ask for them.
        """
        decision = self._policy.decide(identity, self._call(name, inputs))
        outcome = decision.outcome
        if isinstance(outcome, Grant) or outcome.reason is Reason.SCOPE_MISSING:
            return True, decision.cost
        used = [decision.rule, *(each.rule for each in decision.evaluated if each.matched)]
        return any(isinstance(rule, Rule) and _gives_by_arguments(rule) for rule in used), decision.cost

    def _call(self, name: str, inputs: Inputs) -> Inputs:
        """Return the inputs of a call of the tool by the same client, with unknown arguments."""
        mcp = {**inputs.mcp, "method": "tools/call", "tool": name, "arguments": None}
        mcp |= tools.listed(name)
        request = inputs.request
        headers = request.get("headers")
        if isinstance(headers, Mapping) and "mcp-method" in headers:
            request = {**request, "headers": {**headers, "mcp-method": "tools/call", "mcp-name": name}}
        reason, source = inputs.reason, self._policy.reason_source
        if reason is None and source is not None and source.argument is not None:
            reason = _REASON
        return dataclasses.replace(inputs, request=request, mcp=mcp, message=None, reason=reason)


def _assuming(entry: Any, assumed: bool) -> Any:  # noqa: FBT001
    if not _by_arguments(entry.matcher.reads):
        return entry
    return dataclasses.replace(entry, matcher=_Assuming(entry.matcher, assumed))


def _by_arguments(reads: frozenset[Path]) -> bool:
    return any(path in _WHOLE or path[:2] in _UNKNOWN for path in reads)


def _gives_by_arguments(rule: Rule) -> bool:
    """Return whether the arguments may decide that a mapping gives a role, or which."""
    if restricts(rule):
        return False
    return _by_arguments(rule.matcher.reads) or (
        rule.account is not None and _by_arguments(rule.account.expression.reads)
    )
