"""Verified tokens by their digest: bounded, gone when the token ends.

The key is the SHA-256 digest of the whole token, so nothing is ever shared between two
tokens, let alone two users. For any thread.
"""

import hashlib
from collections.abc import Callable

from extproc.caching.expiring_lru import ExpiringLRUCache
from extproc.caching.locked import LockedCache
from extproc.clock import Clock
from extproc.values import Session, TokenDigest


def token_digest(token: str) -> TokenDigest:
    """SHA-256 of a token: what identifies it in memory."""
    return TokenDigest(hashlib.sha256(token.encode("ascii")).digest())


class SessionCache:
    """Open sessions, least-recently-used ones evicted first."""

    def __init__(self, *, max_sessions: int, clock: Clock) -> None:
        self._sessions: LockedCache[TokenDigest, Session] = LockedCache(
            ExpiringLRUCache(
                maxsize=max_sessions,
                ttu=lambda _digest, session, _now: session.identity.expires_at,
                timer=clock,
                owner=lambda session: session.identity.owner,
            )
        )

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def evictions(self) -> int:
        """Living sessions that had to make room."""
        return self._sessions.evictions

    def get(self, digest: TokenDigest) -> Session | None:
        """The living session of a token, if there is one. No I/O."""
        return self._sessions.get(digest)

    def values(self) -> list[Session]:
        """All living sessions, in no order."""
        return self._sessions.values()

    def drop(self, digest: TokenDigest) -> None:
        """Forget a session."""
        self._sessions.drop(digest)

    def drop_where(self, ends: Callable[[Session], bool]) -> list[Session]:
        """Forget all sessions of which ``ends`` is true; returns them."""
        dropped = [session for session in self._sessions.values() if ends(session)]
        for session in dropped:
            self.drop(session.digest)
        return dropped

    def put(self, session: Session) -> None:
        """Keep a session."""
        self._sessions.put(session.digest, session)
