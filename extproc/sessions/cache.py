"""Credentials by session and grant: one exchange for all who wait, renewed before they end.

The key is the token's digest together with the whole grant, as a structure, so nothing
is shared between two tokens, nor between two roles, names or session policies of one
token. Writes nothing to disk. ``get``, ``find``, ``still_good`` and ``forget_stale`` are for
any thread, all else for the event loop.
"""

import asyncio
import heapq
import itertools
import math
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog
from cachetools import LRUCache, TTLCache

from extproc.caching.expiring_lru import ExpiringLRUCache
from extproc.caching.locked import LockedCache
from extproc.caching.single_flight import SingleFlight
from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.fairness.queue import Owner
from extproc.sessions.identity_fingerprint import IdentityFingerprint, fingerprint
from extproc.values import Authorized, Credentials, Grant, Session, TokenDigest

REFRESH_AT = 0.8
"""The share of the credentials' life after which they are renewed, give or take ``_JITTER``."""

_JITTER = 0.05  # of the lifetime: sessions that began together must not be renewed together
_RECENT = 0.5  # of the lifetime: sessions idle for longer are not renewed
_RETRY = 0.04  # of the lifetime: between attempts to renew
_TICK = 1.0  # seconds between looks at what is due
_REFRESHES_AT_ONCE = 4
_REFRESHES_OF_ONE = 2  # of one user at once: the sessions of one must not make those of others late
_MOMENT = 1.0  # seconds
_HEALING_INTERVAL = 30.0  # seconds: credentials younger than this are not replaced for being refused

DEFINITE = frozenset(
    {Reason.STS_ACCESS_DENIED, Reason.STS_TOKEN_REFUSED, Reason.STS_TOKEN_EXPIRED, Reason.STS_MISCONFIGURED}
)
"""What asking again at once would not change."""

Key = tuple[TokenDigest, Grant]

_log = structlog.get_logger(__name__)


class Exchange(Protocol):
    """Where credentials come from."""

    async def exchange(self, session: Session, grant: Grant) -> Credentials:
        """Exchange a session's token under a grant; raises ``Denied``."""
        ...


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How credentials are kept. Times in seconds."""

    max_entries: int = 10_000
    margin: float = 60.0  # credentials are not used so close to their end
    negative_ttl: float = 30.0
    reuse_by_identity: bool = False


@dataclass(slots=True, weakref_slot=True)
class Entry:
    """Credentials with whose and what for they are; times in seconds since the epoch.

    ``good_until``: the end of the moment in which whoever found this entry may take it again
    without looking it up. Only the cache keeps entries; others hold them weakly.
    """

    credentials: Credentials
    session: Session
    grant: Grant
    obtained_at: float
    used_at: float
    renew_at: float = math.inf
    good_until: float = -math.inf

    @property
    def lifetime(self) -> float:
        """Seconds from when they were obtained to their end."""
        return self.credentials.expires_at - self.obtained_at


class CredentialSource(Protocol):
    """What the pipeline asks of the cache; see ``CredentialCache``. A dry run has no credentials at all."""

    def get(self, session: Session, grant: Grant) -> Credentials | None:
        """Living credentials of a session under a grant, if there are any. No I/O."""
        ...

    def find(self, session: Session, grant: Grant) -> Entry | None:
        """The entry with them."""
        ...

    def still_good(self, entry: Entry) -> bool:
        """Whether an entry found a moment ago may be taken again."""
        ...

    def obtain(self, session: Session, grant: Grant) -> asyncio.Future[Credentials]:
        """Obtain credentials; raises ``Denied``, at once or from the future."""
        ...

    def forget_stale(self, authorized: Authorized) -> bool:
        """Drop credentials that AWS refused."""
        ...


def _owner(entry: Entry) -> Owner:
    return entry.session.identity.owner


class CredentialCache:
    """The credentials of all sessions."""

    def __init__(
        self,
        *,
        exchange: Exchange,
        clock: Clock,
        policy: CachePolicy,
        random_share: Callable[[], float] = random.random,
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._policy = policy
        self._random_share = random_share
        self._entries: LockedCache[Key, Entry] = LockedCache(
            ExpiringLRUCache(
                maxsize=policy.max_entries,
                ttu=lambda _key, entry, _now: self._ends_at(entry),
                timer=clock,
                owner=_owner,
            )
        )
        self._refused: TTLCache[Key, tuple[Reason, str]] = TTLCache(
            maxsize=policy.max_entries, ttl=policy.negative_ttl, timer=clock
        )
        self._by_identity: LRUCache[tuple[IdentityFingerprint, Grant], Key] = LRUCache(policy.max_entries)
        self._refused_by_aws: LockedCache[str, float] = LockedCache(LRUCache(policy.max_entries))
        self._exchanging: SingleFlight[Key, Credentials] = SingleFlight()
        self._due: list[tuple[float, int, Key]] = []
        self._sequence = itertools.count()
        self._refreshing: Counter[Owner] = Counter()
        self._held: dict[Owner, deque[tuple[float, Key]]] = {}  # due, while their owner has enough under way
        self._under_way: dict[Key, Session] = {}  # exchanges whose outcome is to be kept
        self._renew_if_used_since = -math.inf
        self.refreshes = {"ok": 0, "failed": 0}
        """Renewals so far, by how they ended."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def evictions(self) -> int:
        """Living credentials that had to make room."""
        return self._entries.evictions

    def get(self, session: Session, grant: Grant) -> Credentials | None:
        """Living credentials of a session under a grant, if there are any. No I/O."""
        entry = self.find(session, grant)
        return None if entry is None else entry.credentials

    def find(self, session: Session, grant: Grant) -> Entry | None:
        """The entry with them."""
        entry = self._entries.get((session.digest, grant))
        if entry is not None:
            entry.used_at = self._clock()
            entry.good_until = min(entry.used_at + _MOMENT, self._ends_at(entry))
        return entry

    def still_good(self, entry: Entry) -> bool:
        """Whether an entry found a moment ago may be taken again."""
        return entry.good_until > self._clock()

    def obtain(self, session: Session, grant: Grant) -> asyncio.Future[Credentials]:
        """Exchange the session's token under a grant, or join whoever does; await it shielded.

        Raises:
            Denied: at once, if STS refused the same a moment ago.
        """
        key = (session.digest, grant)
        refused = self._refused.get(key)
        if refused is not None:
            reason, detail = refused
            raise Denied(reason, f"{detail} (remembered)")
        return self._exchanging.run(key, lambda: self._obtain(key, session))

    def forget_stale(self, authorized: Authorized) -> bool:
        """Drop credentials that AWS refused, unless they are newer or were obtained a moment ago."""
        key = (authorized.session.digest, authorized.grant)
        entry = self._entries.get(key)
        if entry is None or entry.credentials is not authorized.credentials:
            return False  # somebody was faster
        if self._clock() - entry.obtained_at < _HEALING_INTERVAL:
            return False
        if not self._drop(key, entry):
            return False
        self._refused_by_aws.put(entry.credentials.access_key_id, entry.credentials.expires_at)
        return True

    def values(self) -> list[Entry]:
        """All that is held, in no order; only to be looked at."""
        return self._entries.values()

    def drop_where(self, ends: Callable[[Session, Grant], bool]) -> int:
        """Drop the credentials of all sessions and grants of which ``ends`` is true; returns how many.

        What an exchange under way brings for such a session is not kept either.
        """
        for key, session in list(self._under_way.items()):
            if ends(session, key[1]):
                del self._under_way[key]
        ended = [(key, entry) for key, entry in self._entries.items() if ends(entry.session, entry.grant)]
        return sum(self._drop(key, entry) for key, entry in ended)

    def _drop(self, key: Key, entry: Entry) -> bool:
        dropped = self._entries.drop(key, only=entry)
        entry.good_until = -math.inf  # at once, for those who hold it weakly
        return dropped

    def renew_only_what_is_used_again(self) -> None:
        """Policy may grant other things from now on: do not renew by ourselves what it granted before."""
        self._renew_if_used_since = self._clock()

    async def keep_fresh(self) -> None:
        """Renew what is due, until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            self._entries.expire()
            self.refresh_due()

    def refresh_due(self) -> list[asyncio.Future[Credentials]]:
        """Start to renew what is due now, a few at a time; returns what was started.

        Whenever one is done the next one due is started, so that many sessions that began
        together are all renewed in time without keeping first requests from STS.
        """
        now = self._clock()
        started = []
        while self._due and self._due[0][0] <= now and self._refreshing.total() < _REFRESHES_AT_ONCE:
            at, _, key = heapq.heappop(self._due)
            entry = self._entries.get(key)
            if entry is None or entry.renew_at != at:  # gone, or planned anew meanwhile
                continue
            owner = _owner(entry)
            if self._refreshing[owner] >= _REFRESHES_OF_ONE:
                self._held.setdefault(owner, deque()).append((at, key))
                continue
            self._schedule(key, entry, now + _RETRY * entry.lifetime)  # unless it succeeds, look again
            if entry.used_at >= max(now - _RECENT * entry.lifetime, self._renew_if_used_since):
                started.append(self._renew(key, entry))
        return started

    def _renew(self, key: Key, entry: Entry) -> asyncio.Future[Credentials]:
        owner = _owner(entry)
        self._refreshing[owner] += 1

        def finished(task: asyncio.Future[Credentials]) -> None:
            self._refreshing[owner] -= 1
            self._release(owner)
            failed = task.cancelled() or task.exception() is not None
            self.refreshes["failed" if failed else "ok"] += 1
            self.refresh_due()

        task = self._exchanging.run(key, lambda: self._exchanged(key, entry.session, used_at=entry.used_at))
        task.add_done_callback(finished)
        return task

    def _release(self, owner: Owner) -> None:
        """Let the next of what was held for an owner be due again; all of it if nothing else would do so."""
        held = self._held.get(owner, deque())
        count = 1
        if not self._refreshing[owner]:
            del self._refreshing[owner]
            count = len(held)
        for _ in range(min(count, len(held))):
            at, key = held.popleft()
            heapq.heappush(self._due, (at, next(self._sequence), key))
        if not held:
            self._held.pop(owner, None)

    def _worth_renewing(self, entry: Entry) -> bool:
        """Whether the token outlives the credentials, and not just by the margin.

        A token's first use comes right after it is issued, and often both live for an hour:
        a second exchange would double the load on STS for the sake of the last minute.
        """
        return entry.session.identity.expires_at > entry.credentials.expires_at

    async def _obtain(self, key: Key, session: Session) -> Credentials:
        grant = key[1]
        taken_over = self._take_over(session, grant)
        if taken_over is None:
            return await self._exchanged(key, session, used_at=None)
        entry = Entry(taken_over.credentials, session, grant, taken_over.obtained_at, self._clock())
        self._store(key, entry)
        return entry.credentials

    async def _exchanged(self, key: Key, session: Session, *, used_at: float | None) -> Credentials:
        """Fresh credentials; ``used_at`` is when the old ones were last used, None if there were none."""
        grant = key[1]
        self._under_way[key] = session
        try:
            credentials = await self._exchange.exchange(session, grant)
        except Denied as denied:
            if denied.reason not in DEFINITE:
                raise
            reason, detail = denied.reason, denied.detail
            if session.identity.expires_at <= self._clock():
                # We took it within our leeway. Some STS call an expired token an invalid one, or forbidden.
                reason, detail = Reason.STS_TOKEN_EXPIRED, f"{detail}; the token has expired"
            self._refused[key] = (reason, detail)
            raise Denied(reason, detail, code=denied.code) from None
        finally:
            kept = self._under_way.pop(key, None) is not None
        _log.info(
            "credentials_obtained",
            issuer=session.identity.issuer,
            subject=session.identity.subject,
            mapping=grant.mapping,
            role_arn=grant.role_arn,
            session_name=grant.session_name,
            access_key_id=credentials.access_key_id,
            renewal=used_at is not None,
        )
        if kept:
            now = self._clock()
            self._store(key, Entry(credentials, session, grant, now, now if used_at is None else used_at))
        return credentials

    def _store(self, key: Key, entry: Entry) -> None:
        self._entries.put(key, entry)
        if self._policy.reuse_by_identity:
            self._by_identity[fingerprint(entry.session.identity), entry.grant] = key
        if self._worth_renewing(entry):
            share = REFRESH_AT + _JITTER * (2 * self._random_share() - 1)
            self._schedule(key, entry, entry.obtained_at + share * entry.lifetime)

    def _take_over(self, session: Session, grant: Grant) -> Entry | None:
        """Living credentials of the same identity under an earlier token, if that is allowed."""
        if not self._policy.reuse_by_identity:
            return None
        key = self._by_identity.get((fingerprint(session.identity), grant))
        entry = self._entries.get(key) if key is not None else None
        if entry is None or entry.credentials.access_key_id in self._refused_by_aws:
            return None
        return entry

    def _schedule(self, key: Key, entry: Entry, at: float) -> None:
        entry.renew_at = at
        if len(self._due) > 2 * self._policy.max_entries:
            # What was evicted is still planned; without this the plan would grow with every user seen.
            self._due = [planned for planned in self._due if planned[2] in self._entries]
            heapq.heapify(self._due)
        heapq.heappush(self._due, (at, next(self._sequence), key))

    def _ends_at(self, entry: Entry) -> float:
        return min(entry.session.identity.expires_at, entry.credentials.expires_at - self._policy.margin)
