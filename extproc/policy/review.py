"""What is probably not meant in a policy that is valid, and what each rule reads."""

from collections.abc import Iterator, Sequence

from extproc.policy.ceilings import Ceiling
from extproc.policy.rules import Policy, Rule


def warnings(policy: Policy) -> Iterator[str]:
    """Rules that can never matter, and session policies that can meet."""
    yield from _unreachable("mapping", policy.rules)
    if policy.fallback_role_arn is not None and any(rule.matcher.constant for rule in policy.rules):
        yield "fallback_role_arn: never reached, since a mapping always matches"
    yield from _unreachable("ceiling", policy.ceilings)
    if policy.cost(USUAL_GROUPS) > policy.cost_limit:
        yield f"{cost(policy)}: such tokens may be denied (policy_error); see limits.policy_cost"
    for ceiling in policy.ceilings:
        restricted = [rule.name for rule in policy.rules if ceiling.session_policy and rule.session_policy]
        if restricted:
            yield (
                f"ceiling {ceiling.name}: has a session policy, and so has mapping {', '.join(restricted)}: "
                "who meets both is denied (policy_conflict)"
            )


USUAL_GROUPS = 300
"""Groups that a token can have in large organizations."""


def cost(policy: Policy) -> str:
    """What a decision costs where a token has many groups, and of how much."""
    units = policy.cost(USUAL_GROUPS)
    return f"with {USUAL_GROUPS} groups this policy needs at most {units:,} of {policy.cost_limit:,} units"


def reads(policy: Policy) -> Iterator[str]:
    """For each rule, which members of the variables its decision depends on."""
    for kind, entries in (("mapping", policy.rules), ("ceiling", policy.ceilings)):
        for entry in entries:
            paths = entry.reads if isinstance(entry, Rule) else entry.matcher.reads
            members = sorted({".".join(path) for path in paths})
            yield f"{kind} {entry.name}: reads {', '.join(members) or 'nothing'}"


def _unreachable(kind: str, entries: Sequence[Rule] | Sequence[Ceiling]) -> Iterator[str]:
    earlier: list[Rule | Ceiling] = []
    for entry in entries:
        if entry.matcher.constant is False:
            yield f"{kind} {entry.name}: never matches"
            continue
        # Equal conditions: a duplicate claim, or the same expression.
        shadow = next((e for e in earlier if e.matcher.constant or e.matcher == entry.matcher), None)
        if shadow is not None:
            always = "always matches" if shadow.matcher.constant else "has the same condition"
            yield f"{kind} {entry.name}: never reached, since {kind} {shadow.name} {always}"
        earlier.append(entry)
