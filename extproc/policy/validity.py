"""When a mapping counts: between two moments, and for break-glass mappings only with a reason.

Both are conditions of a mapping beside its matcher. Where the time is unknown a role is not given, and a
deny rule applies.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extproc.values import RequestHead

LONGEST_REASON = 256
"""Characters of a reason that are kept."""

_LONGEST_GIVEN = 1024  # characters; whatever is longer is no reason

NOT_VALID = "not valid now"
NO_REASON = "break glass: the request has no reason"


@dataclass(frozen=True, slots=True)
class Validity:
    """A period, in seconds since the epoch; None: without a beginning, or without an end."""

    begins_at: float | None = None
    ends_at: float | None = None

    def includes(self, now: float | None, *, restricts: bool) -> bool:
        """Return whether the period has begun and not ended; for an unknown time, what gives less."""
        if now is None:
            return restricts or self == ALWAYS
        return (self.begins_at is None or now >= self.begins_at) and (
            self.ends_at is None or now < self.ends_at
        )

    def contains(self, other: "Validity") -> bool:
        """Return whether the other period is within this one."""
        begun = self.begins_at is None or (other.begins_at is not None and self.begins_at <= other.begins_at)
        return begun and (
            self.ends_at is None or (other.ends_at is not None and other.ends_at <= self.ends_at)
        )


ALWAYS = Validity()


def clean(reason: str) -> str:
    """Return a reason for logs: shortened, on one line, without control characters."""
    printable = "".join(character if character.isprintable() else " " for character in reason)
    return " ".join(printable.split())[:LONGEST_REASON].rstrip()


@dataclass(frozen=True, slots=True)
class ReasonSource:
    """Where the reason for a break-glass mapping comes from.

    Attributes:
        header: the name of a header, in lower case. It never leaves for the upstream.
        argument: the name of an argument of MCP tools, or None.
    """

    header: str
    argument: str | None = None

    def find(self, head: RequestHead, arguments: Any) -> str | None:
        """Return the reason in a request as it came; None if there is none, a long one, or several."""
        return self.choose(head.values(self.header), arguments)

    def choose(self, sent: Sequence[Any], arguments: Any) -> str | None:
        """Return the reason, given the values of the header; None as ``find`` does."""
        values = list(sent)
        if not values and self.argument is not None and isinstance(arguments, Mapping):
            values = [arguments.get(self.argument)]
        if len(values) != 1 or not isinstance(values[0], str) or len(values[0]) > _LONGEST_GIVEN:
            return None
        return values[0] if clean(values[0]) else None


class Periods:
    """The periods between the moments at which some mapping begins or ends to count."""

    def __init__(self, validities: Iterable[Validity]) -> None:
        moments = {moment for each in validities for moment in (each.begins_at, each.ends_at)}
        self._moments = sorted(moment for moment in moments if moment is not None)

    def __bool__(self) -> bool:
        return bool(self._moments)

    def number(self, now: float | None) -> int:
        """Return the number of the period: for equal ones the same mappings count."""
        return -1 if now is None else bisect_right(self._moments, now)
