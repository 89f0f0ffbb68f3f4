"""Sessions, grants and a fake STS for tests of the credential room."""

import asyncio
import itertools
from dataclasses import dataclass

from extproc.errors import Denied
from extproc.sessions.sessions import token_digest
from extproc.values import Credentials, Grant, Identity, Session

START = 1_790_000_000.0
HOUR = 3600.0
ROLE = "arn:aws:iam::123456789012:role/Reader"


class FakeClock:
    def __init__(self, now=START):
        self.now = now

    def __call__(self):
        return self.now


@dataclass(frozen=True, slots=True)
class GrantedSession(Session):
    """A session, and the grant that a test has in mind for it."""

    grant: Grant


def grant(**fields):
    return Grant(**{"role_arn": ROLE, "session_name": "alice", "duration": 3600, "mapping": "m", **fields})


def session(
    token="a.b.c",
    *,
    subject="alice",
    issuer="https://idp.example",
    expires_at=START + 8 * HOUR,
    claims=None,
    granted=None,
):
    claims = {"sub": subject, "exp": int(expires_at), **(claims or {})}
    identity = Identity(issuer, subject, expires_at, claims, b"k")
    return GrantedSession(token_digest(token), identity, token, granted or grant(session_name=subject))


def held(opened):
    """What credentials are kept by."""
    return opened, opened.grant


class FakeExchange:
    """Hands out credentials that live for ``lifetime``; ``failure`` and ``gate`` hold it up."""

    def __init__(self, clock, lifetime=HOUR):
        self._clock = clock
        self._serial = itertools.count(1)
        self.lifetime = lifetime
        self.calls = []
        self.failure: Denied | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def exchange(self, opened, granted):
        self.calls.append((opened.unverified_web_identity_token, granted))
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        serial = next(self._serial)
        return Credentials(
            f"ASIA{serial}", f"secret{serial}", f"token{serial}", self._clock() + self.lifetime
        )
