"""The table of sessions by token digest: bounded, fair, and the one place where sessions and credentials end.

The key is the SHA-256 digest of the whole token, so nothing is shared between two tokens, let alone two
users. A session takes one of the table's entries, or as many as it has living credentials. When there are
too many, the least recently used session is evicted; but a user with more than ``FAIR_SHARE`` of the table
makes room among the user's own sessions, so that one user's many tokens do not push out those of others.

Threads: ``lookup`` may be called from any thread. It takes the lock about once a second for each session;
everything that changes the table takes it always. Reading the dictionary without the lock is safe, since
its keys are bytes: comparing them runs no Python code in which another thread could change it.
"""

import heapq
import math
import threading
from collections import OrderedDict
from collections.abc import Callable

from extproc.clock import Clock
from extproc.fairness.queue import Owner
from extproc.sessions.session import MAX_GRANTS, Granted, LiveCredentials, Session, Siblings
from extproc.values import Grant, Identity, TokenDigest

FAIR_SHARE = 1 / 8
"""The share of the table that one user may hold while others need room."""

_TOUCH_EVERY = 1.0  # seconds: the order of use is no finer, so that most lookups need no lock
_LEEWAY = 30.0  # seconds: a session is kept for at least this time, even if its token is about to expire

_Planned = tuple[float, TokenDigest]
"""A time (seconds since the epoch, by AWS's clock), and the session of which something may end then."""


class SessionTable:
    """All sessions. Times are in seconds since the epoch, by AWS's clock, which judges tokens.

    Attributes:
        clock: AWS's time.
        credentials: number of living credentials.
        evictions: number of evicted sessions.
        evicted_credentials: number of evicted credentials.
    """

    def __init__(self, *, max_entries: int, clock: Clock) -> None:
        self._max_entries = max_entries
        self.clock = clock
        self._lock = threading.RLock()
        self._sessions: OrderedDict[TokenDigest, Session] = OrderedDict()  # the least recently used first
        self._owners: dict[Owner, Siblings] = {}
        self._entries = 0
        self._ends: list[_Planned] = []  # a heap: when to look at which session
        self.credentials = 0
        self.evictions = 0
        self.evicted_credentials = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def lookup(self, digest: TokenDigest, now: float | None = None) -> Session | None:
        """Return the living session of a token; ``now``: the time, if the caller has it. No I/O."""
        session = self._sessions.get(digest)
        if session is None:
            return None
        if now is None:
            now = self.clock()
        if now >= session.identity.expires_at:
            if now >= session.ends_at:
                self.end(session)
            return None  # accepted within the leeway: verified for each request
        if now - session.used_at >= _TOUCH_EVERY:
            with self._lock:
                self._touch(session, now)
        return session

    def peek(self, digest: TokenDigest) -> Session | None:
        """Return a session without marking it as used."""
        return self._sessions.get(digest)

    def held(self, digest: TokenDigest, grant: Grant) -> tuple[Session, Granted, LiveCredentials] | None:
        """Return the credentials that a session holds under a grant, without marking it as used."""
        session = self._sessions.get(digest)
        granted = session.find(grant) if session is not None else None
        live = granted.live if granted is not None else None
        return None if session is None or granted is None or live is None else (session, granted, live)

    def values(self) -> list[Session]:
        """Return all sessions, the least recently used first."""
        with self._lock:
            return list(self._sessions.values())

    def open(self, digest: TokenDigest, identity: Identity, unverified_web_identity_token: str) -> Session:
        """Keep a verified token.

        A session that the token has already goes on, with its credentials, under the new identity: keys or
        settings changed, and it was verified again.
        """
        with self._lock:
            now = self.clock()
            ends_at = max(identity.expires_at, now + _LEEWAY)
            session = self._sessions.get(digest)
            if session is not None and session.owner == identity.owner:
                session.identity, session.ends_at = identity, ends_at
                self._touch(session, now)
            else:
                session = Session(digest, identity, unverified_web_identity_token)
                # Before it is added: ``lookup`` sees it without the lock, and would end it at once.
                session.used_at, session.ends_at = now, ends_at
                self._add(session)
            self._plan_look(session, ends_at)
            return session

    def keep(self, session: Session, granted: Granted, live: LiveCredentials) -> bool:
        """Keep credentials in place of earlier ones; return False if they came too late."""
        with self._lock:
            if session.ended or live.ends_at <= self.clock():
                return False
            if session.granted(granted.grant, granted) is not granted:
                return False
            self._replace(session, granted, live)
            self._plan_look(session, live.ends_at)
            while len(session.grants) > MAX_GRANTS:
                oldest = session.grants[0]
                session.evict(oldest)
                self.evicted_credentials += self._replace(session, oldest, None)
            self._touch(session, self.clock())
            self._make_room(session.owner, 0)
            return True

    def end_credentials(
        self, session: Session, granted: Granted, *, only: LiveCredentials | None = None
    ) -> bool:
        """End a session's credentials under a grant, or only while they are those very ones.

        Return whether there were any. An exchange that is under way brings none back.
        """
        with self._lock:
            if only is not None and granted.live is not only:
                return False
            granted.ends += 1
            granted.ended_at = self.clock()
            return self._replace(session, granted, None)

    def end(self, session: Session) -> None:
        """End a session with all that it holds."""
        with self._lock:
            if self._sessions.get(session.digest) is session:
                self._remove(session)

    def end_where(self, ends: Callable[[Session], bool]) -> list[Session]:
        """End all sessions for which ``ends`` is true; return them."""
        ended = [session for session in self.values() if ends(session)]
        for session in ended:
            self.end(session)
        return ended

    def expire(self) -> None:
        """End what has expired. Called regularly, so that no secret stays in memory for lack of requests."""
        now = self.clock()
        with self._lock:
            while self._ends and self._ends[0][0] <= now:
                planned = heapq.heappop(self._ends)
                session = self._planned(planned)
                if session is None:
                    continue
                session.looked_at = math.inf
                if session.ends_at <= now:
                    self._remove(session)
                    continue
                for granted, live in session.living():
                    if live.ends_at <= now:
                        self._replace(session, granted, None)
                ends = [session.ends_at, *(live.ends_at for _, live in session.living())]
                self._plan_look(session, min(ends))

    # All methods below are called with the lock held.

    def _touch(self, session: Session, now: float) -> None:
        session.used_at = now
        if session.siblings is not None:
            self._sessions.move_to_end(session.digest)
            if session.siblings.several is not None:  # no call for most users: they come in every second
                session.siblings.several.move_to_end(session.digest)

    def _add(self, session: Session) -> None:
        owner = session.owner
        earlier = self._sessions.get(session.digest)
        if earlier is not None:
            self._remove(earlier)
        self._make_room(owner, 1)
        siblings = self._owners.get(owner)
        if siblings is None:
            siblings = self._owners[owner] = Siblings(session)
        else:
            siblings.add(session)
        session.siblings = siblings
        self._sessions[session.digest] = session
        self._count(session, 1)

    def _remove(self, session: Session) -> None:
        session.ended = True
        session.exchanged = None
        for granted in session.grants:
            self._replace(session, granted, None)
        self._count(session, -session.entries)
        del self._sessions[session.digest]
        siblings, session.siblings = session.siblings, None
        if siblings is not None and siblings.remove(session):
            del self._owners[session.owner]

    def _replace(self, session: Session, granted: Granted, live: LiveCredentials | None) -> bool:
        """Replace credentials by others or None; return whether there were any."""
        before, granted.live = granted.live, live
        self.credentials += (live is not None) - (before is not None)
        if not session.ended:
            self._count(session, max(1, len(session.living())) - session.entries)
        return before is not None

    def _count(self, session: Session, more: int) -> None:
        session.entries += more
        self._entries += more
        if session.siblings is not None:  # pragma: no branch - what is in the table has siblings
            session.siblings.entries += more

    def _make_room(self, owner: Owner, room: int) -> None:
        """Evict sessions until ``room`` more entries fit."""
        if self._entries + room > self._max_entries:
            self.expire()
        while self._sessions and self._entries + room > self._max_entries:
            own = self._owners.get(owner)
            is_greedy = own is not None and own.entries > self._max_entries * FAIR_SHARE
            evicted = own.idlest() if own is not None and is_greedy else next(iter(self._sessions.values()))
            self.evictions += 1
            self.evicted_credentials += len(evicted.living())
            self._remove(evicted)

    def _plan_look(self, session: Session, at: float) -> None:
        """Have ``expire`` look at a session then, or before. A session has one place in the plan."""
        if session.looked_at <= at:
            return
        session.looked_at = at
        if len(self._ends) > 2 * self._max_entries:
            # What was evicted or planned anew is still there. Without this the plan would grow with every
            # user ever seen.
            self._ends = [planned for planned in self._ends if self._planned(planned) is not None]
            heapq.heapify(self._ends)
        heapq.heappush(self._ends, (at, session.digest))

    def _planned(self, planned: _Planned) -> Session | None:
        """Return the session that is to be looked at, unless it has ended or was planned anew."""
        at, digest = planned
        session = self._sessions.get(digest)
        return session if session is not None and session.looked_at == at else None
