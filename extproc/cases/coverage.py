"""Which mappings, ceilings and halves of ``&&`` and ``||`` decided some case.

A half decided a case if the condition's result would be another one without it. That is tried, with the
condition compiled without the half, so that missing members and errors count as they do in the server.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from extproc.errors import Denied
from extproc.explain.explanation import Explanation
from extproc.policy.ceilings import Ceiling
from extproc.policy.cel import BoolExpression, Budget, ExpressionError
from extproc.policy.cel.parts import operands
from extproc.policy.mappings import Rule
from extproc.policy.matchers import cel_matcher
from extproc.policy.rules import Decision, Policy
from extproc.policy.search import Subject, first_match, restricts
from extproc.policy.validity import ALWAYS
from extproc.scopes import NO_SCOPES
from extproc.values import Grant

_FALLBACK = "fallback_role_arn"


@dataclass(slots=True)
class Half:
    """One operand; ``without`` is the entry whose condition lacks it."""

    source: str
    without: Rule | Ceiling
    decided: bool = False


class Coverage:
    """Collects what decided the cases of one policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._entries: list[Rule | Ceiling] = [*policy.rules, *policy.ceilings]
        self._decided = [False] * len(self._entries)
        self._halves = [list(_halves(entry)) for entry in self._entries]
        self._fallback_used = False

    def note(self, explanation: Explanation) -> None:
        """Record an explanation."""
        decision, identity = explanation.decision, explanation.identity
        if decision is None or identity is None or explanation.variables is None:
            return
        if isinstance(decision.outcome, Grant) and decision.outcome.mapping is None:
            self._fallback_used = True
        for entry in (*decision.evaluated, *decision.ceilings):
            place = self._place(entry.rule)
            self._decided[place] |= entry.matched and _is_decisive(entry.rule, decision)
            for half in self._halves[place]:
                if half.decided or entry.foreign or entry.inactive:
                    continue
                subject = Subject(
                    identity, frozenset(), explanation.variables, Budget(self.policy.cost_limit)
                )
                # The condition counts, whatever scopes make of it.
                applied = None if entry.error else entry.matched or entry.lacking is not None
                half.decided = _applies(half.without, subject) is not applied

    def open(self) -> Iterator[tuple[Rule | Ceiling | None, Half | None]]:
        """Yield what decided no case: entries without a half, halves, and None for the fallback role."""
        for entry, decided, group in zip(self._entries, self._decided, self._halves, strict=True):
            if not decided:
                yield entry, None
            yield from ((entry, half) for half in group if not half.decided)
        if self.policy.fallback_role_arn is not None and not self._fallback_used:
            yield None, None

    def decided(self, entry: Rule | Ceiling | None) -> bool:
        """Return whether an entry, or None for the fallback role, decided some case."""
        return self._fallback_used if entry is None else self._decided[self._place(entry)]

    def state(self) -> tuple[list[bool], list[bool], bool]:
        """Return what ``restore`` takes."""
        halves = [half.decided for group in self._halves for half in group]
        return list(self._decided), halves, self._fallback_used

    def restore(self, state: tuple[list[bool], list[bool], bool]) -> None:
        """Forget what was recorded since ``state`` was taken."""
        self._decided, halves, self._fallback_used = list(state[0]), state[1], state[2]
        for half, decided in zip((half for group in self._halves for half in group), halves, strict=True):
            half.decided = decided

    def _place(self, entry: Rule | Ceiling) -> int:
        return next(place for place, known in enumerate(self._entries) if known is entry)

    def lines(self) -> Iterator[str]:
        """Yield the sums, then a line for all that decided no case."""
        halves = [half for group in self._halves for half in group]
        yield (
            f"coverage: {sum(self._decided)} of {len(self._decided)} mappings and ceilings, "
            f"{sum(half.decided for half in halves)} of {len(halves)} halves of && and || decided a case"
        )
        for entry, decided, group in zip(self._entries, self._decided, self._halves, strict=True):
            kind = "mapping" if isinstance(entry, Rule) else "ceiling"
            if not decided:
                yield f"  {kind} {entry.name}: never decisive"
            for half in group:
                if not half.decided:
                    yield f"  {kind} {entry.name}: {half.source}: never decisive"
        if self.policy.fallback_role_arn is not None and not self._fallback_used:
            yield f"  {_FALLBACK}: never decisive"

    @property
    def complete(self) -> bool:
        """Return whether everything decided some case."""
        return len(list(self.lines())) == 1


def _is_decisive(entry: Rule | Ceiling, decision: Decision) -> bool:
    """Return whether an entry that applies changed the outcome: a ceiling may lower nothing."""
    if isinstance(entry, Rule) or entry.session_policy or isinstance(decision.outcome, Denied):
        return True
    matched = next((e.rule for e in decision.evaluated if e.matched and not restricts(e.rule)), None)
    return decision.rule is not matched


def _applies(entry: Rule | Ceiling, subject: Subject) -> bool | None:
    found = first_match([entry], subject)  # type: ignore[type-var]
    return None if found.error else found.entry is not None


def _halves(entry: Rule | Ceiling) -> Iterator[Half]:
    if not isinstance(entry.matcher, BoolExpression):
        return
    for source, shorter in operands(entry.matcher.source):
        try:
            matcher = cel_matcher(shorter)
        except ExpressionError:  # the rest alone is no condition
            continue
        without = replace(entry, matcher=matcher, require_scopes=NO_SCOPES)
        if isinstance(without, Rule):
            without = replace(without, validity=ALWAYS, break_glass=False)
        yield Half(source, without)
