"""From an identity to one grant: role mappings in order of priority, then the fallback role.

The semantics are those of ToolHive's RFC THV-0033: a mapping has either ``claim``, short for
"this value is in the role claim", or a CEL ``matcher``; the lowest priority number wins,
no number comes last, ties go by order; the first match ends the search.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from extproc.errors import Denied, Reason
from extproc.policy.cel import Condition, EvaluationError, compile_condition, to_cel
from extproc.policy.session_name import session_name
from extproc.values import ChainedRole, Grant, Identity

VARIABLES = frozenset({"claims"})
"""What a matcher can read."""


class Matcher(Protocol):
    """Decides whether one mapping applies."""

    def matches(self, variables: Mapping[str, Any]) -> bool:
        """True only if it certainly applies; raises ``EvaluationError`` if that cannot be told."""
        ...


@dataclass(frozen=True, slots=True)
class ClaimContains:
    """The ``claim`` sugar: ``value in claims[claim]``, compared in Python, so that no value can be CEL."""

    claim: str
    value: str

    def matches(self, variables: Mapping[str, Any]) -> bool:
        """Whether the claim is a list that has the value; a claim of another type is an error."""
        claims = variables["claims"]
        if self.claim not in claims:  # CEL maps have no get() with a default
            return False
        values = claims[self.claim]
        if values is None:
            return False
        if not isinstance(values, list):
            raise EvaluationError("the role claim is not a list")
        return any(isinstance(entry, str) and entry == self.value for entry in values)


def cel_matcher(source: str) -> Condition:
    """Compile a ``matcher``; raises ``ExpressionError``."""
    return compile_condition(source, variables=VARIABLES)


@dataclass(frozen=True, slots=True)
class Rule:
    """One role mapping. ``priority`` None: after all that have one."""

    name: str
    matcher: Matcher
    role_arn: str
    priority: int | None
    chain: ChainedRole | None = None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What became of one rule, for explanations."""

    rule: Rule
    matched: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for one identity: a grant or the reason for none, and the rules looked at."""

    outcome: Grant | Denied
    evaluated: tuple[Evaluated, ...]


class Policy:
    """The role mappings of one configuration."""

    def __init__(
        self,
        *,
        rules: list[Rule],
        fallback_role_arn: str | None,
        session_name_claim: str,
        session_duration: int,
    ) -> None:
        self._rules = sorted(rules, key=lambda rule: (rule.priority is None, rule.priority or 0))
        self._fallback_role_arn = fallback_role_arn
        self._session_name_claim = session_name_claim
        self._session_duration = session_duration

    def grant(self, identity: Identity) -> Grant:
        """The grant for an identity.

        Raises:
            Denied: ``NO_ROLE``, ``POLICY_ERROR`` or ``SESSION_NAME_INVALID``.
        """
        outcome = self.decide(identity).outcome
        if isinstance(outcome, Denied):
            raise outcome
        return outcome

    def decide(self, identity: Identity) -> Decision:
        """Evaluate the rules in order until one matches or cannot be evaluated."""
        evaluated: list[Evaluated] = []
        try:
            variables = {"claims": to_cel(dict(identity.claims))}
        except EvaluationError as error:
            return Decision(Denied(Reason.POLICY_ERROR, f"claims: {error}"), ())
        for rule in self._rules:
            try:
                matched = rule.matcher.matches(variables)
            except EvaluationError as error:
                # Falling through would let a broken rule hand out a later, perhaps stronger, role.
                evaluated.append(Evaluated(rule, matched=False, error=str(error)))
                denied = Denied(Reason.POLICY_ERROR, f"mapping {rule.name}: {error}")
                return Decision(denied, tuple(evaluated))
            evaluated.append(Evaluated(rule, matched=matched, error=None))
            if matched:
                return Decision(self._granted(identity, rule.role_arn, rule), tuple(evaluated))
        if self._fallback_role_arn is not None:
            return Decision(self._granted(identity, self._fallback_role_arn, None), tuple(evaluated))
        return Decision(Denied(Reason.NO_ROLE, "no mapping matched"), tuple(evaluated))

    def _granted(self, identity: Identity, role_arn: str, rule: Rule | None) -> Grant | Denied:
        wanted = identity.claims.get(self._session_name_claim)
        if not isinstance(wanted, str) or not wanted:
            return Denied(Reason.SESSION_NAME_INVALID, f"claim {self._session_name_claim} is not a text")
        return Grant(
            role_arn=role_arn,
            session_name=session_name(wanted, issuer=identity.issuer, subject=identity.subject),
            duration=self._session_duration,
            mapping=rule.name if rule else None,
            chain=rule.chain if rule else None,
        )
