"""The plan of renewals: before credentials end, if they are used, and fairly among users."""

import heapq
import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator

from extproc.fairness.queue import Owner
from extproc.sessions.session import Granted, LiveCredentials, Session
from extproc.sessions.table import SessionTable
from extproc.values import Grant, TokenDigest

RENEW_AT = 0.8
"""The share of the credentials' life after which they are renewed, give or take ``_JITTER``."""

_JITTER = 0.05  # of the lifetime: sessions that began together must not be renewed together
_RECENT = 0.5  # of the lifetime: sessions idle for longer are not renewed
_RETRY = 0.04  # of the lifetime: between attempts to renew
_AT_ONCE = 4  # renewals; first exchanges need STS too
_OF_ONE_AT_ONCE = 2  # renewals of one user: the sessions of one must not make those of others late

_Planned = tuple[float, int, TokenDigest, Grant]
"""The time (seconds since the epoch, by AWS's clock), a sequence number, the session and the grant."""


class RenewalPlan:
    """Plans renewals and chooses those that may begin. Belongs to the event loop; does no I/O."""

    def __init__(
        self, sessions: SessionTable, *, max_entries: int, random_share: Callable[[], float] = random.random
    ) -> None:
        self._sessions = sessions
        self._max_entries = max_entries
        self._random_share = random_share
        self._due: list[_Planned] = []  # a heap
        self._held: dict[Owner, deque[_Planned]] = {}  # due, while their user has enough under way
        self._under_way: Counter[Owner] = Counter()
        self._sequence = itertools.count()
        self._if_used_since = -math.inf

    @property
    def under_way(self) -> int:
        """How many renewals have begun and not ended."""
        return self._under_way.total()

    def add(self, session: Session, granted: Granted, live: LiveCredentials) -> None:
        """Plan the renewal of new credentials, if the token outlives them.

        A token that lives only as long as they do is not worth it: it is first used after its issue, and
        often both live for an hour. Renewal would double the load on STS for the last minute.
        """
        ends = granted.grant.ends_at
        if ends is not None and ends <= live.expires_at:
            return  # the credentials outlive what they are for
        if session.identity.expires_at > live.expires_at:
            share = RENEW_AT + _JITTER * (2 * self._random_share() - 1)
            self._plan(session, granted, live, live.obtained_at + share * _lifetime(live))

    def renew_only_what_is_used_again(self, now: float) -> None:
        """Renew only what is used from now on: another policy may have other grants."""
        self._if_used_since = now

    def begin_due(self, now: float) -> Iterator[tuple[Session, Granted]]:
        """Begin what is due, a few at a time; ``end`` is to be called for each.

        Call it again whenever one ends, so that many sessions that began together are all renewed in time
        without keeping first requests from STS.
        """
        while self._due and self._due[0][0] <= now and self.under_way < _AT_ONCE:
            planned = heapq.heappop(self._due)
            at, _, digest, grant = planned
            held = self._sessions.held(digest, grant)
            if held is None or held[2].renew_at != at:
                continue  # gone, or planned anew meanwhile
            session, granted, live = held
            owner = session.owner
            if self._under_way[owner] >= _OF_ONE_AT_ONCE:
                self._held.setdefault(owner, deque()).append(planned)
                continue
            self._plan(session, granted, live, now + _RETRY * _lifetime(live))  # unless it succeeds
            if live.used_at >= max(now - _RECENT * _lifetime(live), self._if_used_since):
                self._under_way[owner] += 1
                yield session, granted

    def end(self, owner: Owner) -> None:
        """End a renewal; make the user's next held one due, or all if none is under way any more."""
        self._under_way[owner] -= 1
        held = self._held.pop(owner, None)
        if not self._under_way[owner]:
            del self._under_way[owner]
        if held is None:
            return
        for _ in range(1 if owner in self._under_way else len(held)):
            at, _, digest, grant = held.popleft()
            heapq.heappush(
                self._due, (at, next(self._sequence), digest, grant)
            )  # after what is due for others
        if held:
            self._held[owner] = held

    def _plan(self, session: Session, granted: Granted, live: LiveCredentials, at: float) -> None:
        live.renew_at = at
        if len(self._due) > 2 * self._max_entries:
            # Evicted sessions are still in the heap. Without this it would grow with every user ever seen.
            self._due = [planned for planned in self._due if self._is_held(planned)]
            heapq.heapify(self._due)
        heapq.heappush(self._due, (at, next(self._sequence), session.digest, granted.grant))

    def _is_held(self, planned: _Planned) -> bool:
        at, _, digest, grant = planned
        held = self._sessions.held(digest, grant)
        return held is not None and held[2].renew_at == at


def _lifetime(live: LiveCredentials) -> float:
    return live.expires_at - live.obtained_at
