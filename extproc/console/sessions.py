"""Sessions of browsers: in memory, found by an opaque cookie, bounded in number and in time."""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from extproc.clock import Clock
from extproc.console.access import User

MAX_SESSIONS = 1000
"""Sessions at a time; the least recently used one makes room."""


@dataclass(slots=True)
class BrowserSession:
    """One browser that is logged in.

    Attributes:
        csrf_token: each form has it, and no page of another origin can read it.
        began_at: seconds since the epoch.
        used_at: seconds since the epoch.
        ended: whether it ended before its time.
    """

    user: User
    began_at: float
    used_at: float
    ended: bool = False
    csrf_token: str = field(repr=False, default_factory=lambda: secrets.token_urlsafe(32))

    def has_csrf_token(self, given: str) -> bool:
        """Return whether ``given`` is the session's token, in constant time."""
        return hmac.compare_digest(self.csrf_token.encode(), given.encode(errors="replace"))


class BrowserSessions:
    """The sessions by the SHA-256 of their cookies, so that memory never has a cookie that works.

    For one event loop. Sessions end with the process.

    Args:
        lifetime: seconds from the login.
        idle: seconds without a request.
    """

    def __init__(self, *, clock: Clock, lifetime: float, idle: float, limit: int = MAX_SESSIONS) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._idle = idle
        self._limit = limit
        self._sessions: OrderedDict[bytes, BrowserSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, user: User) -> tuple[str, BrowserSession]:
        """Return a new cookie and its session. A cookie is never taken from a client."""
        cookie, now = secrets.token_urlsafe(32), self._clock()
        session = BrowserSession(user, began_at=now, used_at=now)
        self._sessions[_digest(cookie)] = session
        if len(self._sessions) > self._limit:
            self._sessions.popitem(last=False)[1].ended = True
        return cookie, session

    def find(self, cookie: str | None, *, used: bool = True) -> BrowserSession | None:
        """Return the session of a cookie, if it still lives.

        ``used``: count it as used. What a page asks for by itself does not keep a session alive.
        """
        session = self._sessions.get(key := _digest(cookie)) if cookie else None
        if session is None:
            return None
        if not self.lives(session):
            session.ended = True
            del self._sessions[key]
            return None
        if used:
            session.used_at = self._clock()
            self._sessions.move_to_end(key)
        return session

    def lives(self, session: BrowserSession) -> bool:
        """Return whether a session that was found is still within its times."""
        now = self._clock()
        return now < session.began_at + self._lifetime and now < session.used_at + self._idle

    def end_those(self, chosen: Callable[[User], bool]) -> None:
        """End the sessions of the chosen users."""
        for key in [key for key, session in self._sessions.items() if chosen(session.user)]:
            self._sessions.pop(key).ended = True

    def end(self, cookie: str | None) -> None:
        """End the session of a cookie, if there is one."""
        session = self._sessions.pop(_digest(cookie), None) if cookie else None
        if session is not None:
            session.ended = True


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode(errors="replace")).digest()
