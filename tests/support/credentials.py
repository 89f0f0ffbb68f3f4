"""Sessions, grants and a fake STS for tests of the credential room."""

import asyncio
import itertools
from dataclasses import dataclass

from extproc.errors import Denied
from extproc.sessions.credentials import CredentialPolicy, CredentialStore
from extproc.sessions.session import Session, token_digest
from extproc.sessions.table import SessionTable
from extproc.values import Credentials, Grant, Identity

START = 1_790_000_000.0
HOUR = 3600.0
ROLE = "arn:aws:iam::123456789012:role/Reader"


class FakeClock:
    def __init__(self, now=START):
        self.now = now

    def __call__(self):
        return self.now


@dataclass(frozen=True)
class Wanted:
    """A verified token, and the grant that a test has in mind for it."""

    token: str
    identity: Identity
    grant: Grant

    @property
    def digest(self):
        return token_digest(self.token)


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
    return Wanted(token, identity, granted or grant(session_name=subject))


def opened(token="a.b.c", **more):
    """A session that no table holds."""
    wanted = session(token, **more)
    return Session(wanted.digest, wanted.identity, token)


class Store:
    """A table, and the store of its sessions' credentials, over a fake STS."""

    def __init__(self, *, lifetime=HOUR, share=0.5, max_entries=10_000, **policy):
        self.clock = FakeClock()
        self.exchange = FakeExchange(self.clock, lifetime)
        self.table = SessionTable(max_entries=max_entries, clock=self.clock)
        self.store = CredentialStore(
            sessions=self.table,
            exchange=self.exchange,
            clock=self.clock,
            policy=CredentialPolicy(max_entries=max_entries, **policy),
            random_share=lambda: share,
        )

    def open(self, wanted):
        """The wanted session in the table, and what it has under the wanted grant."""
        kept = self.table.lookup(wanted.digest) or self.table.open(
            wanted.digest, wanted.identity, wanted.token
        )
        return kept, kept.granted(wanted.grant)

    async def obtain(self, wanted=None):
        """Credentials, exchanged whether or not there are some."""
        return (await self.store.obtain(*self.open(wanted or session()))).credentials

    def get(self, wanted):
        """Living credentials, if there are any; this counts as use of them."""
        kept = self.table.lookup(wanted.digest)
        granted = kept.find(wanted.grant) if kept is not None else None
        live = self.store.living(granted) if granted is not None else None
        return live.credentials if live is not None else None


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

    async def exchange(self, _owner, token, granted):
        self.calls.append((token, granted))
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        serial = next(self._serial)
        return Credentials(
            f"ASIA{serial}", f"secret{serial}", f"token{serial}", self._clock() + self.lifetime
        )
