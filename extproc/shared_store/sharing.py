"""Sharing: credentials are looked up in the store before they are exchanged, and stored afterwards.

One replica exchanges while the others wait for its result (a lease in the store). Nothing depends on the
lease: a second exchange is only a second exchange. Nor does a request depend on the store: whatever goes
wrong with it, STS is called.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from extproc.clock import Clock
from extproc.sessions.session import Session
from extproc.sessions.sharing import Obtained
from extproc.shared_store.calls import Client
from extproc.shared_store.entries import Entry
from extproc.shared_store.keys import ServerKeys
from extproc.shared_store.lookup import LOOKUPS, Lookup, Turn
from extproc.shared_store.patience import Patience
from extproc.shared_store.sealing import TooLargeError
from extproc.shared_store.writer import Write, Writer
from extproc.values import Grant, Identity

CLOCKS_DIFFER = 5.0
"""Seconds by which the clocks of two replicas may differ, both corrected by AWS's."""


class StoreSharing:
    """Shares credentials through the store; see ``sessions.credentials.Sharing``. Belongs to one event loop.

    Args:
        revoked_at: returns when an identity's credentials under a grant were last revoked; 0.0 if never.
        exchange_site: the STS endpoint and region.
        margin: seconds before their end in which credentials are not used.

    Attributes:
        lookups: how they ended so far.
        waits: how often this process waited for another's exchange.
    """

    def __init__(
        self,
        *,
        client: Client,
        patience: Patience,
        writer: Writer,
        keys: Sequence[ServerKeys],
        revoked_at: Callable[[Identity, Grant], float],
        exchange_site: str,
        margin: float,
        prefix: str,
        clock: Clock,
    ) -> None:
        self._client = client
        self._patience = patience
        self._writer = writer
        self._keys = keys
        self._revoked_at = revoked_at
        self._exchange_site = exchange_site
        self._margin = margin
        self._prefix = prefix
        self._clock = clock
        self.lookups = Counter(dict.fromkeys(LOOKUPS, 0))
        self.waits = 0

    async def obtain(
        self,
        session: Session,
        grant: Grant,
        exchange: Callable[[], Awaitable[Obtained]],
        *,
        newer_than: float,
    ) -> Obtained:
        """Return what a replica obtained, or exchange and share the result.

        Raises:
            Denied: by the exchange.
        """
        entry = Entry(
            self._keys,
            digest=session.digest,
            unverified_token=session.unverified_web_identity_token,
            grant=grant,
            # Another configuration of the issuer may have its tokens exchanged in another way.
            exchange_site=f"{self._exchange_site} {session.identity.config_digest.hex()}",
        )

        def is_usable(found: Obtained) -> bool:
            # Asked when the answer is there: a revocation may have come while it was on its way.
            revoked_at = self._revoked_at(session.identity, grant)
            return (
                found.obtained_at > newer_than
                and (not revoked_at or found.obtained_at > revoked_at + CLOCKS_DIFFER)
                and self._ends_at(session, found) > self._clock()
            )

        lookup = Lookup(
            self._client,
            self._patience,
            entry,
            prefix=self._prefix,
            is_usable=is_usable,
            outcomes=self.lookups,
        )
        found = await lookup.find()
        if found is Turn.FOLLOWS:
            self.waits += 1
            found = await lookup.follow()
        if isinstance(found, Obtained):
            if lookup.by_old_name:
                self._share(session, entry, found, lookup.keys, lookup.fence)
            return found
        # The lease may be ours even without an answer that says so. If it is another's, the fence differs.
        try:
            obtained = await exchange()
        except BaseException:
            self._writer.put(Write(lookup.keys, fence=lookup.fence))
            raise
        self._share(session, entry, obtained, lookup.keys, lookup.fence)
        return obtained

    def _share(
        self,
        session: Session,
        entry: Entry,
        obtained: Obtained,
        keys: tuple[str, str],
        fence: bytes,
    ) -> None:
        try:
            sealed = entry.seal(obtained)
        except TooLargeError:
            sealed = b""
        self._writer.put(Write(keys, sealed, self._ends_at(session, obtained), fence))

    def _ends_at(self, session: Session, obtained: Obtained) -> float:
        return min(
            session.identity.expires_at,
            obtained.token_ends_at,
            obtained.credentials.expires_at - self._margin,
        )
