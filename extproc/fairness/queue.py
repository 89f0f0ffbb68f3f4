"""A fair queue: one user's items do not delay those of others. No I/O, no clock.

Each item belongs to an owner. The next item is one of the owner with the fewest items under way; among equals
of the issuer, then the subject, that was served longest ago; then the first that came. So a new owner is
served before an owner with items under way, a single worker serves owners in turn, and neither one subject
nor all subjects of one issuer delay the others.
"""

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Owner(NamedTuple):
    """A verified user: ``iss`` and ``sub`` of the token."""

    issuer: str
    subject: str


class FairQueue(Generic[Item]):
    """Waiting items by owner, and how many of each owner are under way. Choosing costs O(owners waiting).

    ``length``: how many items wait, as ``len()`` returns for the price of a call.
    """

    def __init__(self) -> None:
        self._waiting: dict[Owner, dict[Item, None]] = {}
        self._under_way: dict[Owner, int] = {}
        self._served: dict[Owner, int] = {}  # the turn at which one was served last
        self._issuers: dict[
            str, int
        ] = {}  # the same by issuer; never evicted, since their number is configured
        self._turn = 0
        self.length = 0

    def __len__(self) -> int:
        """Return how many items wait."""
        return self.length

    def outstanding(self, owner: Owner) -> int:
        """Return how many items of an owner wait or are under way."""
        return len(self._waiting.get(owner, ())) + self._under_way.get(owner, 0)

    def ahead_of(self, owner: Owner) -> int:
        """Return how many waiting items would be served before a further one of this owner."""
        mine = self.outstanding(owner)
        return sum(
            len(items) if other == owner else min(len(items), max(0, mine + 1 - self.under_way(other)))
            for other, items in self._waiting.items()
        )

    def push(self, owner: Owner, item: Item) -> None:
        """Add an item to the queue."""
        self._waiting.setdefault(owner, {})[item] = None
        self.length += 1

    def under_way(self, owner: Owner) -> int:
        """Return how many items of an owner are under way."""
        return self._under_way.get(owner, 0)

    def begin(self, owner: Owner, *, below: int | None = None) -> bool:
        """Count an item as under way, without having waited, until ``done``.

        Return False, and do not count it, if the owner has at least ``below`` under way.
        """
        under_way = self._under_way.get(owner, 0)
        if below is not None and under_way >= below:
            return False
        self._under_way[owner] = under_way + 1
        self._turn += 1
        self._served[owner] = self._issuers[owner.issuer] = self._turn
        return True

    def newest_of_most(self) -> tuple[Owner, Item]:
        """Return the owner with the most waiting items, and the last of these.

        Raises:
            ValueError: nothing waits.
        """
        owner = max(self._waiting, key=lambda waiting: len(self._waiting[waiting]))
        return owner, next(reversed(self._waiting[owner]))

    def pop(self, *, below: int | None = None) -> tuple[Owner, Item] | None:
        """Take the next item, which is under way until ``done``; None if no item waits.

        Nor if all that wait belong to owners who have no less than ``below`` under way.
        """
        owner = min(self._waiting, key=self._rank, default=None)
        if owner is None or (below is not None and self.under_way(owner) >= below):
            return None
        item = next(iter(self._waiting[owner]))
        self.begin(owner)
        self._take(owner, item)
        return owner, item

    def _rank(self, owner: Owner) -> tuple[int, int, int]:
        return self.under_way(owner), self._issuers.get(owner.issuer, 0), self._served.get(owner, 0)

    def done(self, owner: Owner) -> None:
        """End one item of an owner that was under way."""
        left = self._under_way[owner] - 1
        if left:
            self._under_way[owner] = left
        else:
            del self._under_way[owner]
            if owner not in self._waiting:
                self._served.pop(owner, None)  # nothing is kept of owners who are gone

    def remove(self, owner: Owner, item: Item) -> bool:
        """Remove an item without serving it; return whether it still waited."""
        if item not in self._waiting.get(owner, ()):
            return False
        self._take(owner, item)
        if owner not in self._waiting and owner not in self._under_way:
            self._served.pop(owner, None)
        return True

    def _take(self, owner: Owner, item: Item) -> None:
        items = self._waiting[owner]
        del items[item]
        self.length -= 1
        if not items:
            del self._waiting[owner]
