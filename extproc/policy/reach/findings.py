"""Rules that never apply, and why: their own conditions, or rules before them."""

from collections.abc import Collection, Sequence

from extproc.policy.ceilings import Ceiling
from extproc.policy.mappings import Rule
from extproc.policy.reach.conditions import TRUE, formula_of
from extproc.policy.reach.solver import Condition, UndecidedError, is_possible
from extproc.policy.search import counts_always, counts_whenever, is_for, restricts

Entry = Rule | Ceiling

_EVERY_TOKEN = Condition(TRUE, restricts=False)


def never_matches(kind: str, entry: Entry) -> str | None:
    """Return the finding about a condition that contradicts itself, or None."""
    try:
        if not is_possible(_condition(entry), ()):
            return f"{kind} {entry.name}: never matches: its condition contradicts itself"
        strictly = Condition(formula_of(entry.matcher), restricts(entry), strictly=True)
        if restricts(entry) and not is_possible(strictly, ()):
            return (
                f"{kind} {entry.name}: its condition contradicts itself: "
                "it applies at most where a claim that it reads is missing"
            )
    except UndecidedError:
        pass
    return None


def hiding(entry: Entry, earlier: Sequence[Entry], issuers: Collection[str]) -> list[Entry]:
    """Return the earlier entries that together leave nothing for an entry; empty if some may be left.

    Args:
        entry: the entry.
        earlier: those before it, in the order in which they are tried.
        issuers: all issuers of the configuration; empty for any.
    """
    counting = [other for other in earlier if counts_whenever(other, entry)]
    return _covering(_condition(entry), entry.issuers or issuers, counting)


def ending(entries: Sequence[Entry], issuers: Collection[str]) -> list[Entry]:
    """Return the entries that together take every token, so that none gets past them; empty if some may."""
    return _covering(_EVERY_TOKEN, issuers, [entry for entry in entries if counts_always(entry)])


def _covering(wanted: Condition, issuers: Collection[str], entries: Sequence[Entry]) -> list[Entry]:
    # With scopes a mapping takes some of its tokens only, and a deny rule does not end the search.
    needed = [entry for entry in entries if not entry.require_scopes]
    try:
        if not _covers(wanted, issuers, needed):
            return []
        for entry in needed[::-1]:  # those without which the others suffice go
            fewer = [other for other in needed if other is not entry]
            if _covers(wanted, issuers, fewer):
                needed = fewer
    except UndecidedError:
        return []
    return needed


def _covers(wanted: Condition, issuers: Collection[str], entries: Sequence[Entry]) -> bool:
    """Return whether for tokens of each issuer the entries end the search wherever ``wanted`` holds."""
    places = {
        tuple(n for n, entry in enumerate(entries) if is_for(entry, issuer)) for issuer in issuers or [""]
    }
    ends = [_condition(entry, ends=True) for entry in entries]
    return not any(is_possible(wanted, [ends[n] for n in group]) for group in places)


def _condition(entry: Entry, *, ends: bool = False) -> Condition:
    return Condition(formula_of(entry.matcher), restricts(entry), ends)
