"""Warnings and notes about a valid policy, and what each rule reads."""

from collections.abc import Collection, Iterator, Sequence

from extproc.policy.ceilings import Ceiling
from extproc.policy.cel import BoolExpression, Path, shown
from extproc.policy.guards import unguarded
from extproc.policy.mappings import Rule
from extproc.policy.matchers import Matcher
from extproc.policy.reach.findings import ending, hiding, never_matches
from extproc.policy.rules import Policy
from extproc.policy.search import counts_always, counts_whenever, restricts


def warnings(policy: Policy, *, issuers: Collection[str] = ()) -> Iterator[str]:
    """Yield warnings about rules that never apply, deny every request, or give a role to too many users."""
    yield from _unreachable("mapping", policy.rules, issuers)
    always = [
        rule for rule in policy.rules if _always(rule) and not (restricts(rule) and rule.require_scopes)
    ]
    if policy.fallback_role_arn is not None and always:
        yield "fallback_role_arn: never reached, since a mapping always matches"
    for rule in always:
        if restricts(rule):
            yield f"mapping {rule.name}: denies every request"
    if not always:
        yield from _ended(policy, issuers)
    yield from _more_without_scopes(policy.rules)
    yield from _unreachable("ceiling", policy.ceilings, issuers)
    if policy.cost(USUAL_GROUPS) > policy.cost_limit:
        yield f"{cost(policy)}: such tokens may be denied (policy_error); see limits.policy_cost"
    for ceiling in policy.ceilings:
        yield from _ceiling(policy, ceiling)
    if len(issuers) > 1:
        yield from _of_any_issuer(policy, len(issuers))
    yield from _session_name(policy)
    yield from _unknown_commands(policy)


def _unknown_commands(policy: Policy) -> Iterator[str]:
    """Yield restrictions on AWS operations that do not apply where the operation is unknown."""
    for kind, entries in (("mapping", policy.rules), ("ceiling", policy.ceilings)):
        for entry in entries:
            members = {path[2:] for path in entry.matcher.reads if path[:2] == ("mcp", "aws")}
            if restricts(entry) and members and not members & {(), ("known",)}:
                yield (
                    f"{kind} {entry.name}: does not apply to scripts and commands that are not understood; "
                    "add !mcp.aws.known ||"
                )


def _more_without_scopes(rules: Sequence[Rule]) -> Iterator[str]:
    """Yield mappings where a token without some scopes gets a less restricted role than one with them."""
    for rule, further in _passed_on(rules):
        for other in further:
            same_role = (other.role_arn, other.chain) == (rule.role_arn, rule.chain)
            if same_role and rule.session_policy and not other.session_policy:
                yield (
                    f"mapping {rule.name}: tokens without scope {rule.require_scopes} can get the same role "
                    f"from mapping {other.name}, without a session policy"
                )


def _passed_on(rules: Sequence[Rule]) -> Iterator[tuple[Rule, list[Rule]]]:
    """Yield each mapping with scopes, with the later mappings that may give a role to tokens without them."""
    for position, rule in enumerate(rules):
        if restricts(rule) or not rule.require_scopes:
            continue
        further = [
            other
            for other in rules[position + 1 :]
            if not set(rule.require_scopes.names) <= set(other.require_scopes.names)
            and (rule.issuers is None or other.issuers is None or rule.issuers & other.issuers)
        ]
        if further:
            yield rule, further


def _ceiling(policy: Policy, ceiling: Ceiling) -> Iterator[str]:
    restricted = [rule.name for rule in policy.rules if ceiling.session_policy and rule.session_policy]
    if restricted:
        yield (
            f"ceiling {ceiling.name}: has a session policy, and so has mapping {', '.join(restricted)}: "
            "who meets both is denied (policy_conflict)"
        )
    if ceiling.max_mapping is None:
        return
    roles = [rule for rule in policy.rules if rule.role_arn is not None]
    if ceiling.max_mapping == roles[0].name:
        yield f"ceiling {ceiling.name}: lowers no mapping, since {ceiling.max_mapping} is the first mapping"
    lowest = next(rule for rule in roles if rule.name == ceiling.max_mapping)
    if lowest.issuers is not None and not lowest.issuers >= (ceiling.issuers or {""}):
        yield (
            f"ceiling {ceiling.name}: mapping {lowest.name} is not for all issuers that it is for: "
            "others that it lowers are denied"
        )


def _of_any_issuer(policy: Policy, issuers: int) -> Iterator[str]:
    """Yield roles that tokens of every issuer can get, although there are several issuers."""
    what = f"tokens of all {issuers} issuers"
    for rule in policy.rules:
        if rule.role_arn is not None and rule.issuers is None and not _reads_issuer(rule):
            role = rule.chain.role_arn if rule.chain else rule.role_arn
            yield f"mapping {rule.name}: {what} can get {role}; set issuers"
    if policy.fallback_role_arn is not None:
        yield (
            f"fallback_role_arn: {what} can get {policy.fallback_role_arn}; "
            'use a mapping with matcher: "true" and issuers instead'
        )


def _reads_issuer(rule: Rule) -> bool:
    return ("claims", "iss") in rule.matcher.reads


def _session_name(policy: Policy) -> Iterator[str]:
    expression = policy.session_name
    if expression is not None and not expression.reads:
        yield "session_name: reads no claim, so that all users have one name"
    elif expression is not None and expression.reads <= {("claims", "iss"), ("claims", "aud")}:
        yield "session_name: does not distinguish the users of one issuer"


def notes(policy: Policy) -> Iterator[str]:
    """Yield effects that are correct and may still surprise: those for tokens that lack a claim or scope."""
    for kind, entries in (("mapping", policy.rules), ("ceiling", policy.ceilings)):
        for entry in entries:
            if not restricts(entry):
                continue
            claims = [shown(path) for path in _unguarded(entry.matcher) if not policy.is_required(path)]
            if claims:
                effect = "denies" if kind == "mapping" else "holds for"
                yield (
                    f"{kind} {entry.name}: {effect} tokens without {' or '.join(claims)}, "
                    "which it reads without has()"
                )
    for rule, further in _passed_on(policy.rules):
        yield (
            f"mapping {rule.name}: tokens without scope {rule.require_scopes} go on to mapping "
            f"{', '.join(other.name for other in further)}"
        )


def _unguarded(matcher: Matcher) -> list[Path]:
    return unguarded(matcher.source) if isinstance(matcher, BoolExpression) else sorted(matcher.reads)


def _always(entry: Rule | Ceiling) -> bool:
    return entry.matcher.constant is True and entry.issuers is None and counts_always(entry)


USUAL_GROUPS = 300
"""Number of groups in a token of a large organization."""


def cost(policy: Policy) -> str:
    """Return a line with the cost of a decision for a token with many groups, and the limit."""
    units = policy.cost(USUAL_GROUPS)
    return f"with {USUAL_GROUPS} groups this policy needs at most {units:,} of {policy.cost_limit:,} units"


def reads(policy: Policy) -> Iterator[str]:
    """Yield a line for each rule with the members that it reads."""
    for kind, entries in (("mapping", policy.rules), ("ceiling", policy.ceilings)):
        for entry in entries:
            paths = entry.reads if isinstance(entry, Rule) else entry.matcher.reads
            members = sorted({shown(path) for path in paths})
            members += [f"scope {name}" for name in entry.require_scopes.names]
            yield f"{kind} {entry.name}: reads {', '.join(members) or 'nothing'}"


def _ended(policy: Policy, issuers: Collection[str]) -> Iterator[str]:
    """Yield what follows if some mappings together take every request."""
    together = ending(policy.rules, issuers)
    if not together:
        return
    if all(restricts(rule) for rule in together):
        yield f"mapping {_names(together, 'denies', 'together deny')} every request"
    if policy.fallback_role_arn is not None:
        names = _names(together, "takes", "take")
        yield f"fallback_role_arn: never reached, since mapping {names} every request"


def _names(entries: Sequence[Rule | Ceiling], one: str, several: str) -> str:
    return f"{' and '.join(entry.name for entry in entries)} {one if len(entries) == 1 else several}"


def _unreachable(
    kind: str, entries: Sequence[Rule] | Sequence[Ceiling], issuers: Collection[str]
) -> Iterator[str]:
    earlier: list[Rule | Ceiling] = []
    for entry in entries:
        if entry.matcher.constant is False:
            yield f"{kind} {entry.name}: never matches"
            continue
        shadow = next((other for other in earlier if _hides(other, entry)), None)
        if shadow is not None:
            always = "always matches" if shadow.matcher.constant else "has the same condition"
            yield f"{kind} {entry.name}: never reached, since {kind} {shadow.name} {always}"
        elif contradiction := never_matches(kind, entry):
            yield contradiction
        elif together := hiding(entry, earlier, issuers):
            names = _names(together, "takes", "take")
            yield f"{kind} {entry.name}: never reached, since {kind} {names} all that it matches"
        earlier.append(entry)


def _hides(earlier: Rule | Ceiling, later: Rule | Ceiling) -> bool:
    """Return whether ``later`` is never reached since ``earlier`` applies to all its tokens."""
    if not counts_whenever(earlier, later):
        return False
    if earlier.issuers is not None and not (later.issuers and later.issuers <= earlier.issuers):
        return False
    if earlier.require_scopes and not _takes_all_of(earlier, later):
        return False
    return bool(earlier.matcher.constant) or earlier.matcher == later.matcher


def _takes_all_of(earlier: Rule | Ceiling, later: Rule | Ceiling) -> bool:
    """Return whether ``earlier``, which requires scopes, ends the search for every token of ``later``."""
    first, second = set(earlier.require_scopes.names), set(later.require_scopes.names)
    if not restricts(earlier):
        return first <= second
    return restricts(later) and bool(second) and second <= first
