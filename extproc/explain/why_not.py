"""What would have to be different for a role: ``explain --why-not``.

Like all explanations it names members of claims and requests, never their values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from extproc.policy.ceilings import Ceiling
from extproc.policy.cel import BoolExpression, Budget
from extproc.policy.inputs import Inputs
from extproc.policy.mappings import Rule
from extproc.policy.rules import Decision, Policy
from extproc.policy.search import Evaluated, Subject, first_match, restricts
from extproc.policy.why import unmet, why
from extproc.scopes import granted_scopes
from extproc.spelling import did_you_mean
from extproc.values import Grant, Identity

_MOST = 5  # ways that are shown


@dataclass(frozen=True, slots=True)
class WayToRole:
    """One mapping with the role, or the fallback role.

    Attributes:
        mapping: the mapping's name; None for the fallback role.
        needs: what of its own condition, scopes and issuers is not met.
        before: what wins before it.
        after: what takes the role away again.
    """

    mapping: str | None
    needs: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def distance(self) -> int:
        """Return how much would have to be different."""
        return len(self.needs) + len(self.before) + len(self.after)


@dataclass(frozen=True, slots=True)
class WhyNot:
    """The answer.

    Attributes:
        role: the role or mapping that was asked for.
        ways: the nearest first.
        note: why there are none.
    """

    role: str
    ways: tuple[WayToRole, ...] = ()
    note: str = ""

    def facts(self) -> dict[str, Any]:
        """Return the answer as JSON."""
        return {
            "role": self.role,
            "note": self.note or None,
            "ways": [
                {
                    "mapping": way.mapping,
                    "needs": list(way.needs),
                    "before": list(way.before),
                    "after": list(way.after),
                }
                for way in self.ways
            ],
        }


def why_not(
    policy: Policy,
    role: str,
    *,
    decision: Decision,
    identity: Identity,
    inputs: Inputs,
    variables: Mapping[str, Any],
) -> WhyNot:
    """Return what keeps a decision from giving a role, an ARN or a mapping's name. Evaluates CEL."""
    outcome = decision.outcome
    if isinstance(outcome, Grant) and role in (outcome.assumed_role_arn, outcome.mapping):
        return WhyNot(role, note=f"it is given, by {_named(outcome.mapping)}")
    scopes = frozenset(granted_scopes(identity.claims))
    subject = Subject(identity, scopes, variables, Budget(), inputs.now, inputs.reason)
    ways = [
        _way(policy, place, decision, subject)
        for place, rule in enumerate(policy.rules)
        if not restricts(rule) and role in (rule.name, *_roles(rule))
    ]
    if policy.fallback_role_arn == role:
        before = _winners(policy.rules, subject)
        ways.append(WayToRole(None, before=tuple(before), after=tuple(_after(policy, None, decision))))
    if not ways:
        known = [name for rule in policy.rules if not restricts(rule) for name in (rule.name, *_roles(rule))]
        return WhyNot(role, note=f"no mapping gives it{did_you_mean(role, known)}")
    nearest = sorted(ways, key=lambda way: way.distance)[:_MOST]
    return WhyNot(role, tuple(nearest))


def _roles(rule: Rule) -> list[str]:
    """Return the roles that a mapping can give: of a chain, the second."""
    if rule.account is not None:
        return list(rule.account.role_arns.values())
    return [rule.chain.role_arn if rule.chain else rule.role_arn or ""]


def _way(policy: Policy, place: int, decision: Decision, subject: Subject) -> WayToRole:
    rule = policy.rules[place]
    needs = () if _applies(rule, subject).matched else tuple(_needs(rule, subject))
    before = tuple(_winners(policy.rules[:place], subject))
    return WayToRole(rule.name, needs, before, tuple(_after(policy, rule, decision)))


def _applies(entry: Rule, subject: Subject) -> Evaluated:
    """Evaluate one mapping, whatever the others have cost."""
    return first_match([entry], replace(subject, budget=Budget())).evaluated[0]


def _needs(rule: Rule, subject: Subject) -> Iterator[str]:
    evaluated = _applies(rule, subject)
    conditional = not (evaluated.foreign or evaluated.inactive or evaluated.lacking)
    if conditional and isinstance(rule.matcher, BoolExpression):
        yield from unmet(rule.matcher.source, subject.variables)
    elif evaluated.lacking:
        yield f"the token lacks scope {' '.join(evaluated.lacking)}"
    else:
        yield from why(evaluated, subject.variables) or ("it cannot be evaluated",)


def _winners(rules: Sequence[Rule], subject: Subject) -> Iterator[str]:
    """Yield the mappings that end the search before, each with the reason."""
    for rule in rules:
        evaluated = _applies(rule, subject)
        if not evaluated.matched and not evaluated.error:
            continue
        effect = (
            f"is an error ({evaluated.error})"
            if evaluated.error
            else "denies"
            if restricts(rule)
            else "matches"
        )
        reasons = why(evaluated, subject.variables)
        yield f"mapping {rule.name} {effect} first" + (f": {'; '.join(reasons)}" if reasons else "")


def _after(policy: Policy, rule: Rule | None, decision: Decision) -> Iterator[str]:
    """Yield the ceiling that lowers the mapping, as far as the decision came to ceilings."""
    matched = next((e.rule for e in decision.ceilings if e.matched), None)
    if not isinstance(matched, Ceiling) or matched.max_mapping is None or rule is None:
        return
    names = [entry.name for entry in policy.rules]
    if names.index(matched.max_mapping) > names.index(rule.name):
        yield f"ceiling {matched.name} lowers it to mapping {matched.max_mapping}"


def _named(mapping: str | None) -> str:
    return f"mapping {mapping}" if mapping else "fallback_role_arn"
