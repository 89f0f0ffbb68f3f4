"""Both configurations compared, and the report for people and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from extproc.config import Settings
from extproc.policy.rules import Policy
from extproc.policy_diff.outcome import Comparison, Kind, Outcome
from extproc.policy_diff.paths import Defaults
from extproc.policy_diff.roles import Difference, Side, differences
from extproc.policy_diff.settings import SettingDifference, settings_differences

_EVERYBODY = "users that no mapping matches"


@dataclass(frozen=True, slots=True)
class Decided:
    """Decisions about given claims or sessions that differ.

    Attributes:
        name: the file, or what was counted.
        count: how many decisions differ so.
    """

    name: str
    before: Outcome
    after: Outcome
    comparison: Comparison
    count: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """All differences of two configurations.

    Attributes:
        rules: what follows from the rules, for all users.
        settings: differences outside of rules.
        claims: decisions about the given claims.
        sessions: decisions about the sessions of a running server.
        examined: how many claims and sessions were decided, by ``claims`` and ``sessions``.
    """

    rules: tuple[Difference, ...] = ()
    settings: tuple[SettingDifference, ...] = ()
    claims: tuple[Decided, ...] = ()
    sessions: tuple[Decided, ...] = ()
    examined: Mapping[str, int] = field(default_factory=dict)

    @property
    def gives_more(self) -> bool:
        """Return whether anybody gets more than before, or may get more."""
        return (
            any(entry.comparison.gives_more for entry in self.rules)
            or any(entry.comparison.gives_more for entry in (*self.claims, *self.sessions))
            or any(entry.gives_more for entry in self.settings)
        )

    @property
    def differs(self) -> bool:
        """Return whether there is any difference."""
        return bool(self.rules or self.settings or self.claims or self.sessions)


def compared(before: Settings, after: Settings, policies: tuple[Policy, Policy]) -> Report:
    """Compare two configurations; ``policies``: those that the server would build from them."""
    known = {entry.issuer for entry in before.issuers}
    common = [entry.issuer for entry in after.issuers if entry.issuer in known]
    sides = [Side(policy, _defaults(each)) for each, policy in zip((before, after), policies, strict=True)]
    return Report(
        rules=tuple(differences(sides[0], sides[1], common)),
        settings=tuple(sorted(settings_differences(before, after), key=lambda entry: entry.path)),
    )


def _defaults(settings: Settings) -> Defaults:
    name = settings.session_name.strip() if settings.session_name else f"claim {settings.session_name_claim}"
    return Defaults(settings.session_duration, name)


def lines(report: Report) -> Iterator[str]:
    """Yield the report for people."""
    for who, group in _grouped(report.rules).items():
        if any(entry.comparison.kind is not Kind.REASON for entry in group):
            yield who
            yield from dict.fromkeys(f"  {_change(entry)}" for entry in group if _is_shown(entry))
    still = [entry for entry in report.rules if entry.comparison.kind is Kind.REASON]
    if still:
        yield "denied as before, for another reason"
        yield from dict.fromkeys(f"  {_who(entry)}: {entry.before}, now {entry.after}" for entry in still)
    for difference in report.settings:
        yield f"{difference.path}"
        yield f"  {_label(difference.kind, gives_more=difference.gives_more)}: {difference.text}"
    for title, decided in (("claims", report.claims), ("sessions", report.sessions)):
        if title in report.examined:
            count = sum(entry.count for entry in decided)
            yield f"{title}: {count} of {report.examined[title]} are decided otherwise"
            yield from (f"  {_of_decided(entry)}" for entry in decided)
    if not report.differs:
        yield "no difference"


def facts(report: Report) -> dict[str, Any]:
    """Return the report as JSON."""
    return {
        "gives_more": report.gives_more,
        "rules": [
            {
                "who": list(entry.who) or [_EVERYBODY],
                "issuers": list(entry.issuers),
                "undecided": entry.undecided,
                **_facts(entry.before, entry.after, entry.comparison),
            }
            for entry in report.rules
        ],
        "settings": [
            {
                "path": entry.path,
                "kind": entry.kind.value,
                "gives_more": entry.gives_more,
                "change": entry.text,
            }
            for entry in report.settings
        ],
        **{
            title: {
                "examined": report.examined[title],
                "differences": [
                    {
                        "name": entry.name,
                        "count": entry.count,
                        **_facts(entry.before, entry.after, entry.comparison),
                    }
                    for entry in decided
                ],
            }
            for title, decided in (("claims", report.claims), ("sessions", report.sessions))
            if title in report.examined
        },
    }


def _facts(before: Outcome, after: Outcome, comparison: Comparison) -> dict[str, Any]:
    return {
        "kind": comparison.kind.value,
        "gives_more": comparison.gives_more,
        "what": list(comparison.what),
        "before": before.facts(),
        "after": after.facts(),
    }


def _grouped(found: Sequence[Difference]) -> dict[str, list[Difference]]:
    groups: dict[str, list[Difference]] = {}
    for entry in found:
        groups.setdefault(_who(entry), []).append(entry)
    return groups


def _who(entry: Difference) -> str:
    who = ", or ".join(entry.who) or _EVERYBODY
    return who + (f" of {', '.join(entry.issuers)}" if entry.issuers else "")


def _is_shown(entry: Difference) -> bool:
    return entry.comparison.kind is not Kind.REASON


def _change(entry: Difference) -> str:
    label = _label(entry.comparison.kind, gives_more=entry.comparison.gives_more)
    if entry.undecided:
        return f"{label}: perhaps {entry.before}, now {entry.after}: the rules are too many to be sure"
    if entry.comparison.what and entry.before.role == entry.after.role:
        return f"{label}: {entry.before}: {', '.join(entry.comparison.what)}"
    return f"{label}: {entry.before}, now {entry.after}"


def _of_decided(entry: Decided) -> str:
    label = _label(entry.comparison.kind, gives_more=entry.comparison.gives_more)
    what = f" ({', '.join(entry.comparison.what)})" if entry.comparison.what else ""
    return f"{label}: {entry.name}: {entry.before}, now {entry.after}{what}"


def _label(kind: Kind, *, gives_more: bool) -> str:
    return "changed (counts as widened)" if kind is Kind.CHANGED and gives_more else kind.value
