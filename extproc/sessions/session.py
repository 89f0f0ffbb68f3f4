"""A session: one verified token, and all that is known of it.

    Session ─── identity, the token for STS
       │
       ├── decisions of the present policy, by what the rules read
       └── Granted, by grant ─── LiveCredentials ─── what this second's signatures share

Everything about a token is reachable from its session only. Expiry, eviction, revocation and a refusal by AWS
each remove one reference (``sessions.table``), and nothing remains elsewhere.
"""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from extproc.errors import Denied
from extproc.signing.signer import SigningMemo
from extproc.values import Credentials, Grant, Identity, InMemoryOnly, TokenDigest, WebIdentityToken

MAX_GRANTS = 64
"""Grants kept for one session. Rules over tools may give each tool a session policy of its own."""


def token_digest(token: str) -> TokenDigest:
    """Return the SHA-256 digest of a token, which identifies it in memory."""
    return TokenDigest(hashlib.sha256(token.encode("ascii")).digest())


@dataclass(slots=True, eq=False)
class LiveCredentials(InMemoryOnly, SigningMemo):
    """Credentials as one session holds them, and what signatures with them share.

    Times are in seconds since the epoch, by AWS's clock.

    Attributes:
        obtained_at: when STS issued them.
        expires_at: when they or the token behind them expire: they must be renewed before.
        used_at: when a request was last signed with them.
        ends_at: from then on no request is signed with them: a margin before they expire, or the end of the
            user's token or of the exchanged one.
        renew_at: when their renewal is to begin; infinity if none is planned.
    """

    credentials: Credentials
    obtained_at: float
    used_at: float
    ends_at: float
    expires_at: float = 0.0
    renew_at: float = float("inf")

    def __post_init__(self) -> None:
        SigningMemo.__init__(self)


class Granted:
    """What a session has under one grant.

    Attributes:
        live: the credentials, or None. Written by the session table only.
        refusal: the denial of the last exchange, if a retry would not help, and until when it is remembered
            (seconds since the epoch).
        ends: how often the credentials were ended before their time. An exchange that began before that
            must not bring any back.
        ended_at: when that was last, in seconds since the epoch. Older credentials are not taken from another
            replica either.
    """

    __slots__ = ("ended_at", "ends", "grant", "live", "refusal")

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.live: LiveCredentials | None = None
        self.refusal: tuple[Denied, float] | None = None
        self.ends = 0
        self.ended_at = 0.0


Outcome = Granted | Denied
"""A decision: what is granted, or why nothing is."""

Decided = tuple[object, Hashable, Outcome | None, dict[Hashable, Outcome] | None]
"""The mark of a policy, what its rules read of the first request and the decision, and all decisions by that.

The dictionary is made for the second decision: most policies read no requests, so most sessions have but one.
One value, so that no thread sees one policy with another's decisions.
"""

NOTHING_DECIDED: Decided = (None, None, None, None)


class Siblings:
    """One user's sessions in the table, at least one.

    Most users have one session, and an ``OrderedDict`` for it alone would take an eighth of its memory.

    Attributes:
        entries: how many of the table's entries they take.
        several: all of them by digest, the least recently used first; None as long as there is but one.
    """

    __slots__ = ("_only", "entries", "several")

    def __init__(self, first: "Session") -> None:
        self._only: Session | None = first  # None once there are several: it may end before the others
        self.several: OrderedDict[TokenDigest, Session] | None = None
        self.entries = 0

    def __len__(self) -> int:
        """Return their number."""
        return 1 if self.several is None else len(self.several)

    def add(self, session: "Session") -> None:
        """Add a session, the most recently used one."""
        if self._only is not None:
            self.several, self._only = OrderedDict({self._only.digest: self._only}), None
        assert self.several is not None  # noqa: S101 - there is the one or there are several
        self.several[session.digest] = session

    def remove(self, session: "Session") -> bool:
        """Remove a session; return whether it was the last one."""
        if self.several is not None:
            del self.several[session.digest]
        return not self.several

    def idlest(self) -> "Session":
        """Return the least recently used session."""
        if self._only is not None:
            return self._only
        assert self.several is not None  # noqa: S101 - as above
        return next(iter(self.several.values()))


class Session(InMemoryOnly):
    """A verified token.

    Attributes:
        identity: the verified claims of the token.
        owner: the user that limits for each user count.
        unverified_web_identity_token: the token that STS gets; kept to renew credentials.
        exchanged: the token that the identity provider gave for it, if its issuer has a token exchange.
        exchange_refusal: the provider's denial, if a retry would not help, and until when it is remembered
            (seconds since the epoch).
        grants: what it has under each grant, the oldest first. Replaced as a whole, in the event loop alone.
        decided: the decisions of the present policy. Replaced as a whole.
        signed: requests signed so far by target; ``request.responses`` counts them.
        ends_at: seconds since the epoch.
        looked_at: when the table next looks whether anything of it has ended; infinity if never.
        entries: how many of the table's entries the session takes.
        used_at: when the session was last moved to the recent end of the table, seconds since the epoch.
        siblings: the user's sessions in the table.
        ended: whether it left the table, which keeps no credentials for it any more.
    """

    __slots__ = (
        "decided",
        "digest",
        "ended",
        "ends_at",
        "entries",
        "exchange_refusal",
        "exchanged",
        "grants",
        "identity",
        "looked_at",
        "owner",
        "siblings",
        "signed",
        "unverified_web_identity_token",
        "used_at",
    )

    def __init__(self, digest: TokenDigest, identity: Identity, unverified_web_identity_token: str) -> None:
        self.digest = digest
        self.identity = identity
        self.owner = identity.owner
        self.unverified_web_identity_token = unverified_web_identity_token
        self.exchanged: WebIdentityToken | None = None
        self.exchange_refusal: tuple[Denied, float] | None = None
        self.grants: tuple[Granted, ...] = ()
        self.decided = NOTHING_DECIDED
        self.signed: dict[str, Iterator[int]] = {}
        self.ends_at = 0.0
        self.looked_at = math.inf
        self.used_at = 0.0
        self.ended = False
        self.entries = 0
        self.siblings: Siblings | None = None

    def __repr__(self) -> str:
        return f"Session(identity={self.identity!r})"

    def living(self) -> list[tuple[Granted, LiveCredentials]]:
        """Return what the session holds now. For any thread."""
        found = ((granted, granted.live) for granted in self.grants)
        return [(granted, live) for granted, live in found if live is not None]

    def find(self, grant: Grant) -> Granted | None:
        """Return what the session has under an equal grant, if anything. For any thread."""
        for each in self.grants:
            if each.grant is grant or each.grant == grant:
                return each
        return None

    def granted(self, grant: Grant, decided: Granted | None = None) -> Granted:
        """Return what the session has under a grant. Equal grants are one; call in the event loop.

        ``decided``: what an earlier decision granted, which may have been evicted since.
        """
        found = self.find(grant)
        if found is None:
            if len(self.grants) >= MAX_GRANTS:
                # STS may refuse them all, and rules may name sessions after what the client sends.
                idle = next((each for each in self.grants if each.live is None), None)
                if idle is not None:
                    self.evict(idle)
            found = decided or Granted(grant)
            self.grants = (*self.grants, found)
        return found

    def evict(self, granted: Granted) -> None:
        """Remove what the session has under a grant. A revocation no longer finds it: it counts as ended."""
        self.grants = tuple(each for each in self.grants if each is not granted)
        granted.ends += 1


@dataclass(slots=True)
class Authorized:
    """A session with living credentials for what it is granted: all that signing needs."""

    session: Session
    granted: Granted
    live: LiveCredentials

    @property
    def credentials(self) -> Credentials:
        """The credentials to sign with."""
        return self.live.credentials
