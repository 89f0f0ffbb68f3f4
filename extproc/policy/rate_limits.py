"""Which rate limits count a request, and for whom."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extproc.errors import Denied, Reason
from extproc.fairness.queue import Owner
from extproc.fairness.token_buckets import Rate
from extproc.policy.cel import Budget, EvaluationError, MissingMemberError, Path
from extproc.policy.matchers import Matcher

PER = ("subject", "mapping", "tool")
"""What may have buckets of its own."""

_TOOL: Path = ("mcp", "tool")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One limit.

    Attributes:
        name: unique.
        matcher: which requests it counts; None for all.
        targets: names of the targets whose requests it counts; empty for all.
        per: what has a bucket of its own; of ``PER``. Empty for one bucket.
    """

    name: str
    rate: Rate
    matcher: Matcher | None = None
    targets: frozenset[str] = frozenset()
    per: tuple[str, ...] = ()

    def applies(self, variables: Mapping[str, Any], budget: Budget) -> bool:
        """Return whether the limit counts a request. As any restriction it does where a claim is missing.

        Raises:
            Denied: ``POLICY_ERROR`` if the matcher cannot be evaluated.
        """
        if self.matcher is None:
            return True
        try:
            return self.matcher.matches(variables, budget)
        except MissingMemberError as missing:
            return missing.applies
        except EvaluationError as error:
            raise Denied(Reason.POLICY_ERROR, f"rate limit {self.name}: {error}") from None

    def key(self, owner: Owner, mapping: str | None, tool: str | None) -> Hashable:
        """Return the bucket's key. The limit is part of it, so that a changed one begins anew."""
        parts: dict[str, Hashable] = {"subject": owner, "mapping": mapping, "tool": tool}
        return (self.name, self.rate, *(parts[name] for name in self.per))


def reads(limits: Iterable[RateLimit]) -> frozenset[Path]:
    """Return the members that limits read."""
    found: set[Path] = set()
    for limit in limits:
        found |= limit.matcher.reads if limit.matcher is not None else frozenset()
        found |= {_TOOL} if "tool" in limit.per else set()
    return frozenset(found)


def applying(
    limits: Sequence[RateLimit], target: str, variables: Mapping[str, Any], budget: Budget
) -> list[RateLimit]:
    """Return the limits that count a request.

    Raises:
        Denied: ``POLICY_ERROR`` if one cannot be evaluated.
    """
    return [
        limit
        for limit in limits
        if (not limit.targets or target in limit.targets) and limit.applies(variables, budget)
    ]
