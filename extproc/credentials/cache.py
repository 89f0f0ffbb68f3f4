"""Sessions by token digest: bounded, never past their end, opened once however many requests wait.

The key is the SHA-256 digest of the whole token, so nothing is ever shared between two
tokens, let alone two users. Belongs to one event loop.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import NewType

from cachetools import TLRUCache

from extproc.clock import Clock
from extproc.values import Session

TokenDigest = NewType("TokenDigest", bytes)


def token_digest(token: str) -> TokenDigest:
    """SHA-256 of a token: what may be kept of it in memory and used as a key."""
    return TokenDigest(hashlib.sha256(token.encode("ascii")).digest())


class SessionCache:
    """Open sessions, least-recently-used ones evicted first."""

    def __init__(self, *, max_sessions: int, clock: Clock) -> None:
        self._sessions: TLRUCache[TokenDigest, Session] = TLRUCache(
            maxsize=max_sessions, ttu=lambda _key, session, _now: session.ends_at, timer=clock
        )
        self._opening: dict[TokenDigest, asyncio.Task[Session]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, digest: TokenDigest) -> Session | None:
        """The living session of a token, if there is one. No I/O."""
        return self._sessions.get(digest)

    def drop(self, digest: TokenDigest) -> None:
        """Forget a session."""
        self._sessions.pop(digest, None)

    def open(self, digest: TokenDigest, opener: Callable[[], Awaitable[Session]]) -> asyncio.Task[Session]:
        """Open a session, or join whoever is opening it.

        The task is shared by all that wait: await it through ``asyncio.shield``, so that
        one who leaves does not take it away from the others.
        """
        task = self._opening.get(digest)
        if task is None:
            task = asyncio.create_task(self._open(digest, opener))
            self._opening[digest] = task
            # Not in the task itself: one cancelled before its first step never runs a line of it.
            task.add_done_callback(lambda done: self._opened(digest, done))
        return task

    async def _open(self, digest: TokenDigest, opener: Callable[[], Awaitable[Session]]) -> Session:
        session = await opener()
        self._sessions[digest] = session
        return session

    def _opened(self, digest: TokenDigest, task: asyncio.Task[Session]) -> None:
        del self._opening[digest]
        if not task.cancelled():
            # Mark a failure as seen: the one who asked may have left, and nobody else needs to hear of it.
            task.exception()
