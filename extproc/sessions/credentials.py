"""Credentials of sessions: concurrent requests share one exchange; renewal; remembered refusals of STS.

Writes nothing to disk. ``living`` and ``forget_stale`` are for any thread, all else for the event loop.
"""

import asyncio
import math
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from extproc.caching.single_flight import SingleFlight
from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.fairness.queue import Owner
from extproc.sessions.decisions import UNMEASURED
from extproc.sessions.renewal import RenewalPlan
from extproc.sessions.reuse import Reuse
from extproc.sessions.session import Authorized, Granted, LiveCredentials, Session
from extproc.sessions.sharing import Obtained, Sharing
from extproc.sessions.table import SessionTable
from extproc.sessions.web_identity import TokenExchange, WebIdentities
from extproc.values import Credentials, Grant

_TICK = 1.0  # seconds between looks at what is due
_HEALING_INTERVAL = 30.0  # seconds: credentials younger than this are not replaced for being refused

DEFINITE = frozenset(
    {Reason.STS_ACCESS_DENIED, Reason.STS_TOKEN_REFUSED, Reason.STS_TOKEN_EXPIRED, Reason.STS_MISCONFIGURED}
)
"""Reasons that a retry would not change."""

_log = structlog.get_logger(__name__)


class Exchange(Protocol):
    """Exchanges tokens for credentials."""

    async def exchange(self, owner: Owner, unverified_web_identity_token: str, grant: Grant) -> Credentials:
        """Exchange a user's token under a grant; raises ``Denied``."""
        ...


@dataclass(frozen=True, slots=True)
class CredentialPolicy:
    """Settings of the credential store.

    Attributes:
        max_entries: entries of each memory beside the session table.
        margin: seconds before their end in which credentials are not used.
        negative_ttl: seconds for which a definite refusal of STS is remembered.
        reuse_by_identity: whether a new token of the same identity takes over credentials.
    """

    max_entries: int = 10_000
    margin: float = 60.0
    negative_ttl: float = 30.0
    reuse_by_identity: bool = False


class CredentialStore:
    """Obtains the credentials of sessions and keeps them in the session table.

    Attributes:
        renewals: how many renewals succeeded and failed so far.
    """

    def __init__(
        self,
        *,
        sessions: SessionTable,
        exchange: Exchange,
        clock: Clock,
        policy: CredentialPolicy,
        token_exchange: TokenExchange | None = None,
        sharing: Sharing | None = None,
        random_share: Callable[[], float] = random.random,
    ) -> None:
        self._sessions = sessions
        self._exchange = exchange
        self._web_identities = WebIdentities(token_exchange, clock=clock, negative_ttl=policy.negative_ttl)
        self._sharing = sharing
        self._clock = clock
        self._policy = policy
        self._plan = RenewalPlan(sessions, max_entries=policy.max_entries, random_share=random_share)
        self._reuse = Reuse(sessions, max_entries=policy.max_entries) if policy.reuse_by_identity else None
        self._exchanging: SingleFlight[tuple[Granted, int], LiveCredentials] = SingleFlight()
        self.renewals = {"ok": 0, "failed": 0}

    def living(self, granted: Granted, now: float | None = None) -> LiveCredentials | None:
        """Return the credentials under a grant if requests may be signed with them now. No I/O."""
        live = granted.live
        if live is None:
            return None
        if now is None:
            now = self._clock()
        if now >= live.ends_at:
            return None
        live.used_at = now
        return live

    async def obtain(
        self, session: Session, granted: Granted, *, measured: AbstractContextManager[None] = UNMEASURED
    ) -> LiveCredentials:
        """Exchange the session's token under a grant, or join an exchange under way.

        ``measured`` is entered around the exchange itself.

        Raises:
            Denied: by STS, or at once if a refusal is remembered.
        """
        if granted.refusal is not None:
            denied, until = granted.refusal
            if self._clock() < until:
                raise Denied(denied.reason, f"{denied.detail} (remembered)")
            granted.refusal = None
        # After a revocation an exchange that began before it is not joined.
        flight = granted, granted.ends
        return await self._exchanging.join(flight, lambda: self._obtain(session, granted, measured))

    def forget_stale(self, authorized: Authorized) -> bool:
        """End credentials that AWS refused, unless they are newer or were obtained a moment ago."""
        live = authorized.live
        if self._clock() - live.obtained_at < _HEALING_INTERVAL:
            return False
        ended = self._sessions.end_credentials(authorized.session, authorized.granted, only=live)
        if ended and self._reuse is not None:
            self._reuse.refuse(live.credentials)
        return ended

    def renew_only_what_is_used_again(self) -> None:
        """Renew only what is used from now on: another policy may have other grants."""
        self._plan.renew_only_what_is_used_again(self._clock())

    async def keep_fresh(self) -> None:
        """Renew what is due and end what has expired, until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            self._sessions.expire()
            self.renew_due()

    def renew_due(self) -> list[asyncio.Future[LiveCredentials]]:
        """Begin renewals that are due, a few at a time; each that ends begins the next. Return them."""
        return [self._renew(session, granted) for session, granted in self._plan.begin_due(self._clock())]

    def _renew(self, session: Session, granted: Granted) -> asyncio.Future[LiveCredentials]:
        owner = session.owner

        def finished(task: asyncio.Future[LiveCredentials]) -> None:
            failed = task.cancelled() or task.exception() is not None
            self.renewals["failed" if failed else "ok"] += 1
            self._plan.end(owner)
            self.renew_due()

        task = self._exchanging.run((granted, granted.ends), lambda: self._exchanged(session, granted))
        task.add_done_callback(finished)
        return task

    async def _obtain(
        self, session: Session, granted: Granted, measured: AbstractContextManager[None]
    ) -> LiveCredentials:
        living = self.living(granted)
        if living is not None:  # of an exchange that ended a moment ago
            return living
        now = self._clock()
        reused = self._reuse.find(session, granted, now) if self._reuse is not None else None
        if reused is None:
            with measured:
                return await self._exchanged(session, granted)
        token_ends_at = session.identity.expires_at
        return self._keep(
            session, granted, reused.credentials, reused.obtained_at, now, token_ends_at=token_ends_at
        )

    async def _exchanged(self, session: Session, granted: Granted) -> LiveCredentials:
        """Return fresh credentials. They are kept unless the session or its credentials ended meanwhile."""
        ends, before = granted.ends, granted.live
        newer_than = before.obtained_at if before is not None else -math.inf
        exchange = partial(self._exchange_now, session, granted, newer_than)
        try:
            if self._sharing is None:
                obtained = await exchange()
            else:
                obtained = await self._sharing.obtain(
                    session, granted.grant, exchange, newer_than=max(newer_than, granted.ended_at)
                )
        except Denied as denied:
            if denied.reason not in DEFINITE:
                raise
            self._web_identities.forget(session)
            raise self._remembered(session, granted, denied) from None
        return self._keep(
            session,
            granted,
            obtained.credentials,
            obtained.obtained_at,
            before.used_at if before is not None else self._clock(),
            token_ends_at=obtained.token_ends_at,
            unless_ended_since=ends,
        )

    async def _exchange_now(self, session: Session, granted: Granted, newer_than: float) -> Obtained:
        identity, grant, before = session.identity, granted.grant, granted.live
        web_identity = await self._web_identities.obtain(session, newer_than=newer_than)
        credentials = await self._exchange.exchange(session.owner, web_identity.token, grant)
        _log.info(
            "credentials_obtained",
            issuer=identity.issuer,
            subject=identity.subject,
            mapping=grant.mapping,
            role_arn=grant.role_arn,
            session_name=grant.session_name,
            access_key_id=credentials.access_key_id,
            renewal=before is not None,
        )
        return Obtained(credentials, self._clock(), web_identity.expires_at)

    def _remembered(self, session: Session, granted: Granted, denied: Denied) -> Denied:
        now, reason, detail = self._clock(), denied.reason, denied.detail
        if session.identity.expires_at <= now:
            # It was taken within our leeway. Some STS call an expired token an invalid one, or forbidden.
            reason, detail = Reason.STS_TOKEN_EXPIRED, f"{detail}; the token has expired"
        refused = Denied(reason, detail, code=denied.code)
        # One that is never raised: its traceback would keep the whole request, body and all.
        granted.refusal = refused.anew(), now + self._policy.negative_ttl
        return refused

    def _keep(
        self,
        session: Session,
        granted: Granted,
        credentials: Credentials,
        obtained_at: float,
        used_at: float,
        *,
        token_ends_at: float,
        unless_ended_since: int | None = None,
    ) -> LiveCredentials:
        ends_at = min(
            session.identity.expires_at, token_ends_at, credentials.expires_at - self._policy.margin
        )
        if granted.grant.ends_at is not None:
            ends_at = min(ends_at, granted.grant.ends_at)
        expires_at = min(credentials.expires_at, token_ends_at)
        live = LiveCredentials(credentials, obtained_at, used_at, ends_at, expires_at)
        if unless_ended_since in (None, granted.ends) and self._sessions.keep(session, granted, live):
            self._plan.add(session, granted, live)
            if self._reuse is not None:
                self._reuse.note(session, granted)
        return live
