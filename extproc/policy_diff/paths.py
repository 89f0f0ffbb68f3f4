"""The ways through a policy: which mapping and which ceiling end the searches, and what they give."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from extproc.errors import Reason
from extproc.policy.ceilings import Ceiling
from extproc.policy.mappings import Rule
from extproc.policy.rules import Policy
from extproc.policy.search import is_for
from extproc.policy_diff.entries import ONWARD, Effect, Signature, Signatures
from extproc.policy_diff.outcome import Outcome

_COMPARED = frozenset(
    {"name", "matcher", "role_arn", "priority", "chain", "session_policy", "session_duration", "account"}
    | {"issuers", "message", "require_scopes", "validity", "break_glass"}
)
"""Settings of a mapping that have their own place in signature or outcome, or that give nothing."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for all mappings of a configuration.

    Attributes:
        session_duration: seconds.
        session_name: what makes the session name.
    """

    session_duration: int
    session_name: str


@dataclass(frozen=True, slots=True)
class End:
    """One end of a search.

    Attributes:
        place: the entry's place; the number of entries if none ends the search.
        effect: its effect there.
        entry: the entry; None if none ends the search.
    """

    place: int
    effect: Effect
    entry: Rule | Ceiling | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """The entries that are for one issuer, in the order in which they are tried."""

    entries: Sequence[Rule | Ceiling]
    signatures: Sequence[Signature]
    first: Mapping[Signature, int]  # the place of the first entry with it

    def ends(self) -> Iterator[End]:
        """Yield all ends that a search may have, unless an entry is an error."""
        yield End(len(self.entries), Effect.NOT)
        for place, entry in enumerate(self.entries):
            yield End(place, Effect.APPLIES, entry)
        for place, entry in enumerate(self.entries):
            if entry.require_scopes and not self.signatures[place].restricts:
                yield End(place, Effect.LACKS, entry)

    def requirements(self, end: End) -> dict[Signature, frozenset[Effect]]:
        """Return the effects of the entries with which the search ends there."""
        if end.effect is Effect.APPLIES:
            needed = dict.fromkeys(self.signatures[: end.place], ONWARD)
        else:
            onward = ONWARD if end.effect is Effect.LACKS else frozenset({Effect.NOT})
            needed = dict.fromkeys(self.signatures, onward)
        if end.entry is None:
            return needed
        own = self.signatures[end.place]
        if own in needed and end.effect is not Effect.LACKS:
            return {**needed, own: frozenset()}  # an equal entry before it ended the search
        return {**needed, own: frozenset({end.effect})}

    def tries(self, signature: Signature, end: End) -> bool:
        """Return whether an entry with the signature is tried before the end, and does not end the search."""
        place = self.first.get(signature)
        if place is None or (end.entry is not None and self.signatures[end.place] is signature):
            return False
        return end.effect is Effect.LACKS or place < end.place


def ordered(entries: Sequence[Rule] | Sequence[Ceiling], issuer: str, known: Signatures) -> Ordered:
    """Return the entries for an issuer."""
    found = [entry for entry in entries if is_for(entry, issuer)]
    signatures = [known.of(entry) for entry in found]
    first: dict[Signature, int] = {}
    for place, signature in enumerate(signatures):
        first.setdefault(signature, place)
    return Ordered(found, signatures, first)


def outcome_at(policy: Policy, defaults: Defaults, issuer: str, rule: End, ceiling: End) -> Outcome:
    """Return the outcome where the searches end there, for tokens with all scopes of a lowered mapping."""
    entry = rule.entry
    assert entry is None or isinstance(entry, Rule)  # noqa: S101
    if rule.effect is Effect.LACKS:
        return Outcome(denied=Reason.SCOPE_MISSING.value, mapping=entry.name if entry else None)
    if entry is not None and entry.role_arn is None:
        reason = Reason.SCOPE_MISSING if entry.require_scopes else Reason.POLICY_DENIED
        return Outcome(denied=reason.value, mapping=entry.name)
    if entry is None and policy.fallback_role_arn is None:
        return Outcome(denied=Reason.NO_ROLE.value)
    capped = ceiling.entry
    assert capped is None or isinstance(capped, Ceiling)  # noqa: S101
    return _granted(policy, defaults, issuer, entry, capped)


def _granted(
    policy: Policy, defaults: Defaults, issuer: str, rule: Rule | None, ceiling: Ceiling | None
) -> Outcome:
    lowered = _lowered(policy, rule, ceiling)
    if lowered is not None and not is_for(lowered, issuer):
        return Outcome(denied=Reason.POLICY_DENIED.value, mapping=lowered.name)
    own = lowered.session_policy if lowered else None
    if own and ceiling is not None and ceiling.session_policy:
        return Outcome(denied=Reason.POLICY_CONFLICT.value, mapping=lowered.name if lowered else None)
    restrictions = ceiling.session_policy if ceiling is not None and ceiling.session_policy else own
    first = lowered.role_arn if lowered else policy.fallback_role_arn
    chain = lowered.chain if lowered else None
    conditions = _conditions(lowered, rule) if lowered else ()
    inline = frozenset({restrictions.policy}) if restrictions and restrictions.policy else frozenset()
    return Outcome(
        role=chain.role_arn if chain else first,
        by=first if chain else None,
        restrictions=(frozenset(restrictions.policy_arns) if restrictions else frozenset()) | inline,
        duration=(lowered.session_duration if lowered else None) or defaults.session_duration,
        session_name=defaults.session_name,
        conditions=conditions,
        mapping=lowered.name if lowered else None,
        ceiling=ceiling.name
        if ceiling is not None and (lowered is not rule or ceiling.session_policy)
        else None,
    )


def _lowered(policy: Policy, rule: Rule | None, ceiling: Ceiling | None) -> Rule | None:
    if rule is None or ceiling is None or ceiling.max_mapping is None:
        return rule
    names = [entry.name for entry in policy.rules]
    return policy.rules[max(names.index(rule.name), names.index(ceiling.max_mapping))]


def _conditions(rule: Rule, matched: Rule | None) -> tuple[tuple[str, str], ...]:
    """Return the settings of a mapping that have no other place in an outcome."""
    found: list[tuple[str, str]] = []
    if rule.chain is not None:
        found.append(("external_id", rule.chain.external_id or ""))
    if rule.account is not None:
        accounts: Any = sorted(rule.account.role_arns.items())
        found.append(("account", f"{rule.account.expression.source.strip()} {accounts}"))
    if rule is not matched and rule.require_scopes:  # a ceiling lowered to it: its scopes are needed too
        found.append(("require_scopes", str(sorted(map(sorted, rule.require_scopes.sufficient)))))
    found += [(f.name, repr(getattr(rule, f.name))) for f in fields(rule) if f.name not in _COMPARED]
    return tuple(found)
