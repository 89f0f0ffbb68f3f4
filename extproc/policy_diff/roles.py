"""Who gets another role, session or denial under another policy, over all tokens and requests.

For each way through the one policy and each through the other whose outcomes differ, results of atoms are
searched under which both are taken. None: there is no such token. Found results are reduced to those that
the changed entries need, which describes the users. Entries that are equal in both policies are left out of
the description.

Not distinguished: tokens for which a condition is an error, since a claim has a type that no rule expects;
and the short form ``claim`` from ``value in claims.name``, which differ for a role claim that is a map.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from extproc.policy.rules import Policy
from extproc.policy_diff.entries import Effect, Signature, Signatures
from extproc.policy_diff.outcome import Comparison, Kind, Outcome, compare
from extproc.policy_diff.paths import Defaults, End, Ordered, ordered, outcome_at
from extproc.policy_diff.witness import Cube, UndecidedError, domains, find, generalized
from extproc.policy_diff.wording import described

_MOST_CUBES = 8
"""Descriptions of the users of one difference."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two configurations."""

    policy: Policy
    defaults: Defaults


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two policies.

    Attributes:
        who: descriptions of the tokens and requests, each of which suffices; empty for those that no
            mapping matches.
        issuers: the issuers of the tokens; empty for all.
        undecided: whether the search took too long, so that there may be no such token.
    """

    before: Outcome
    after: Outcome
    comparison: Comparison
    who: tuple[str, ...]
    issuers: tuple[str, ...] = ()
    undecided: bool = False


@dataclass(frozen=True, slots=True)
class _Searches:
    """The searches of one policy for one issuer."""

    side: Side
    issuer: str
    rules: Ordered
    ceilings: Ordered

    def ways(self) -> Iterator["_Way"]:
        for rule in self.rules.ends():
            outcome = outcome_at(self.side.policy, self.side.defaults, self.issuer, rule, _NO_CEILING)
            if outcome.denied is not None:
                yield _Way(self, rule, None, outcome, outcome)
                continue
            for ceiling in self.ceilings.ends():
                capped = outcome_at(self.side.policy, self.side.defaults, self.issuer, rule, ceiling)
                yield _Way(self, rule, ceiling, capped, outcome)


_NO_CEILING = End(0, Effect.NOT)


@dataclass(frozen=True, slots=True)
class _Way:
    """One way through a policy.

    Attributes:
        alone: the outcome without ceilings.
    """

    searches: _Searches
    rule: End
    ceiling: End | None
    outcome: Outcome
    alone: Outcome

    def parts(self) -> list[tuple[Ordered, End]]:
        """Return both searches with their ends; the ceilings' only if a role is given."""
        rules = (self.searches.rules, self.rule)
        return [rules] if self.ceiling is None else [rules, (self.searches.ceilings, self.ceiling)]


def differences(before: Side, after: Side, issuers: Collection[str]) -> list[Difference]:
    """Return all differences for tokens of these issuers, which both configurations trust.

    Equal ones of several issuers are one.
    """
    found: dict[tuple[object, ...], dict[str, None]] = {}
    reports: dict[tuple[object, ...], Difference] = {}
    for issuer in issuers:
        for entry in _of_issuer(before, after, issuer):
            key = (entry, entry.before.mapping, entry.after.mapping)
            reports[key] = entry
            found.setdefault(key, {})[issuer] = None
    everywhere = len(issuers)
    return [
        entry if len(found[key]) == everywhere else replace(entry, issuers=tuple(found[key]))
        for key, entry in reports.items()
    ]


def _of_issuer(before: Side, after: Side, issuer: str) -> Iterator[Difference]:
    known = Signatures()
    old, new = (
        _Searches(
            side,
            issuer,
            ordered(side.policy.rules, issuer, known),
            ordered(side.policy.ceilings, issuer, known),
        )
        for side in (before, after)
    )
    ways = list(new.ways())
    widened: set[tuple[End, End]] = set()
    for one in old.ways():
        for other in ways:
            if one.outcome == other.outcome or _excluded(one, other):
                continue
            if (one.rule, other.rule) in widened and _capped_alike(one, other):
                continue
            comparison = _compared(one, other)
            found = None if comparison is None else _between(one, other, comparison)
            if found is not None:
                if found.comparison.gives_more:
                    widened.add((one.rule, other.rule))
                yield found


def _compared(one: _Way, other: _Way) -> Comparison | None:
    """Return how outcomes differ. What a ceiling lowers is less, by the order of the configuration."""
    comparison = compare(one.outcome, other.outcome)
    if comparison is not None and comparison.kind is Kind.CHANGED and one.alone == other.alone:
        if one.outcome == one.alone:
            return Comparison(Kind.NARROWED, gives_more=False, what=comparison.what)
        if other.outcome == other.alone:
            return Comparison(Kind.WIDENED, gives_more=True, what=comparison.what)
    return comparison


def _capped_alike(one: _Way, other: _Way) -> bool:
    """Return whether both searches for a ceiling end at equal ones, or at none."""
    signatures = [
        ceilings.signatures[end.place] if end.entry is not None else None
        for way in (one, other)
        for ceilings, end in way.parts()[1:]
    ]
    return len(signatures) == 2 and len(set(signatures)) == 1  # noqa: PLR2004 - both give a role


def _excluded(one: _Way, other: _Way) -> bool:
    """Return whether the end of one search is tried by the other one, and would end that one too.

    This is cheap, and true of nearly all pairs of two similar policies.
    """
    for (first, end), (second, other_end) in zip(one.parts(), other.parts(), strict=False):
        for here, at, there, bound in ((first, end, second, other_end), (second, other_end, first, end)):
            if at.entry is None or at.effect is Effect.LACKS:
                continue
            own = here.signatures[at.place]
            if there.tries(own, bound):
                return True
            if (
                bound.entry is not None
                and there.signatures[bound.place] is own
                and bound.effect is not at.effect
            ):
                return True
    return False


def _between(one: _Way, other: _Way, comparison: Comparison) -> Difference | None:
    needed: dict[Signature, frozenset[Effect]] = {}
    for searched, end in (*one.parts(), *other.parts()):
        for signature, effects in searched.requirements(end).items():
            needed[signature] = needed.get(signature, effects) & effects
    if not all(needed.values()):
        return None
    core = {signature: needed[signature] for signature in _core(one, other)}
    known = domains([*core, *needed])
    cubes: list[Cube] = []
    undecided = False
    try:
        while len(cubes) < _MOST_CUBES:
            if cubes and find(core, domains(core), cubes) is None:
                break  # the changed entries leave nothing else
            found = find(needed, known, cubes)
            if found is None:
                break
            cubes.append(generalized(found, core, known))
    except UndecidedError:
        undecided = True
    if not cubes and not undecided:
        return None
    if undecided:
        comparison = replace(comparison, gives_more=True)  # for others of whom nothing is known
    who = tuple(dict.fromkeys(described(cube, known) for cube in cubes if cube))
    return Difference(one.outcome, other.outcome, comparison, who, undecided=not cubes)


def _core(one: _Way, other: _Way) -> list[Signature]:
    """Return the entries that make the difference: changed ones, at the ends and before them."""
    core: list[Signature] = []
    ends: list[Signature] = []
    for way, against in ((one, other), (other, one)):
        searches = against.searches
        there = {*searches.rules.signatures, *searches.ceilings.signatures}
        at_ends = {s.signatures[e.place] for s, e in against.parts() if e.entry is not None}
        for searched, end in way.parts():
            tried = [s for s in searched.signatures if searched.tries(s, end)]
            if end.entry is not None:
                own = searched.signatures[end.place]
                ends += [own] if own.is_rule or one.alone == other.alone else []
                # What gives something else than before, although it applies to the same tokens.
                is_changed = own in at_ends and own.is_rule and one.alone != other.alone
                tried += [own] if own not in there or is_changed else []
                core += [own] if is_changed else []
            core += [signature for signature in tried if signature not in there]
    return list(dict.fromkeys(core or ends))
