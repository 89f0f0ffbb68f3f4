"""One lookup in the store: credentials, the lease to exchange, or the wait for another's exchange."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum

from extproc.sessions.sharing import Obtained
from extproc.shared_store.calls import Client, Reply
from extproc.shared_store.entries import Entry
from extproc.shared_store.patience import Outcome, Patience, UnavailableError
from extproc.shared_store.scripts import FIND
from extproc.shared_store.sealing import MAX_SEALED

LEASE = 2.0
"""Seconds of a lease, and the most that other replicas wait: what a dead replica costs at most."""

LOOKUPS = ("hit", "miss", "unusable", "unavailable")
"""How lookups end: values of label ``outcome`` of ``extproc_shared_store_lookups_total``. ``unusable``: a
value does not open, has ended, or was obtained before a revocation, or before AWS refused it."""

_FIRST_WAIT, _LONGEST_WAIT = 0.02, 0.1  # seconds between two looks of a replica that waits
_FENCE_BYTES = 16
_MILLISECONDS = 1000


class Turn(Enum):
    """What a replica that found nothing does."""

    LEADS = "exchange; others wait for it"
    FOLLOWS = "wait for another's exchange"
    ALONE = "exchange, without the store"


class Lookup:
    """Looks one entry up.

    Args:
        is_usable: whether credentials that were found may be used.
        outcomes: counts ``LOOKUPS``.

    Attributes:
        fence: identifies this lookup as the holder of the lease.
        by_old_name: whether credentials were found under the name of the previous secret.
    """

    def __init__(
        self,
        client: Client,
        patience: Patience,
        entry: Entry,
        *,
        prefix: str,
        is_usable: Callable[[Obtained], bool],
        outcomes: Counter[str],
    ) -> None:
        self._client = client
        self._patience = patience
        self._entry = entry
        self._prefix = prefix
        self._is_usable = is_usable
        self._outcomes = outcomes
        self.fence = secrets.token_bytes(_FENCE_BYTES)
        self.by_old_name = False

    @property
    def keys(self) -> tuple[str, str]:
        """The keys of the value and of its lease under the present name."""
        return self._keys(self._entry.names[0])

    async def find(self) -> Obtained | Turn:
        """Look once; take the lease if there are no usable credentials and nobody has it."""
        try:
            found, is_odd = await self._patience.call(self._find)
        except UnavailableError:
            self._outcomes["unavailable"] += 1
            return Turn.ALONE
        if isinstance(found, Obtained):
            self._outcomes["hit"] += 1
        else:
            self._outcomes["unusable" if is_odd else "miss"] += 1
        return found

    async def follow(self) -> Obtained | Turn:
        """Wait for the result of another replica, or for its lease; at most ``LEASE`` seconds."""
        until, pause = time.monotonic() + LEASE, _FIRST_WAIT
        while time.monotonic() < until:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_WAIT)
            try:
                found, _ = await self._patience.call(self._find)
            except UnavailableError as error:
                if error.outcome in (Outcome.SLOW, Outcome.BUSY):
                    continue  # the other replica exchanges all the same
                return Turn.ALONE
            if found is not Turn.FOLLOWS:
                return found
        return Turn.ALONE

    async def _find(self) -> tuple[Obtained | Turn, bool]:
        """Return what was found, and whether there was a value that is not usable."""
        value_key, lease_key = self.keys
        reply = await self._client.evaluate(
            FIND, [value_key, lease_key], self.fence, round(LEASE * _MILLISECONDS), MAX_SEALED
        )
        found, is_odd = self._opened(self._entry.names[0], reply), isinstance(reply, bytes)
        if found is not None:
            return found, False
        if reply != 0:
            for name in self._entry.names[1:]:  # while the secret is being rotated
                reply_by_old_name = await self._client.call("GETRANGE", self._keys(name)[0], 0, MAX_SEALED)
                found = self._opened(name, reply_by_old_name)
                if found is not None:
                    self.by_old_name = True
                    return found, False
        if is_odd:
            reply = await self._client.call(
                "SET", lease_key, self.fence, "NX", "PX", round(LEASE * _MILLISECONDS)
            )
        return (Turn.LEADS if reply else Turn.FOLLOWS), is_odd

    def _opened(self, name: str, reply: Reply) -> Obtained | None:
        if not isinstance(reply, bytes):
            return None
        opened = self._entry.unseal(name, reply)
        return opened if opened is not None and self._is_usable(opened) else None

    def _keys(self, name: str) -> tuple[str, str]:
        # The part in braces alone chooses the slot of a cluster, so that one script reaches both.
        return f"{self._prefix}:{{{name}}}:credentials", f"{self._prefix}:{{{name}}}:lease"
