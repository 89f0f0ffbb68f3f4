"""Shares revocations: every replica has them within two seconds, and has them again after a restart.

Each replica polls the store for the number of the last change, and reads all revocations when it differs. A
message only makes the next poll come earlier. What the store has lost, the replicas that know it put back.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from extproc.clock import Clock
from extproc.sessions.revocation import Selector
from extproc.shared_store.calls import CallError, Client
from extproc.shared_store.keys import ServerKeys
from extproc.shared_store.patience import Outcome, Patience, UnavailableError
from extproc.shared_store.revocation_entries import RevocationTable, SharedRevocation, unseal
from extproc.shared_store.scripts import ANNOUNCE, ASK, POLL, REPLICAS, REVOCATIONS
from extproc.shared_store.sealing import MAX_SEALED, TooLargeError

POLL_EVERY = 0.5  # seconds
_POLLS_APART = 0.05  # seconds
_LAST_MOMENT = 0.2  # seconds that the connection for messages has to close
CONFIRMED_WITHIN = 2.0  # seconds that a revocation waits for the other replicas
_LOOK_AGAIN = 0.05  # seconds: between two looks at who has confirmed
_SUBSCRIBE_AGAIN = 1.0  # seconds: after a failure
_READ_WITHIN = 2.0  # seconds: there may be many
_GONE_AFTER = 60.0  # seconds: a replica that ended without a word counts for so long

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How many replicas there are, and how many of them have a revocation."""

    replicas: int
    confirmed: int


class SharedRevocations:
    """The revocations of all replicas. Belongs to one event loop.

    Args:
        apply: acts on a revocation that came from elsewhere, in this process.
        clock: as credentials are dated.

    Attributes:
        table: all that are known.
        unusable: how many entries of the store do not open.
        polled_at: when a poll last succeeded, in monotonic seconds; None if never.
    """

    def __init__(
        self,
        client: Client,
        patience: Patience,
        *,
        keys: Sequence[ServerKeys],
        apply: Callable[[SharedRevocation], None],
        clock: Clock,
        prefix: str,
    ) -> None:
        self._client = client
        self._patience = patience
        self._keys = keys
        self._apply = apply
        self._clock = clock
        # The part in braces alone chooses the slot of a cluster, so that one script reaches all.
        self._entries, self._revision_key, self._replicas, self._channel = (
            f"{prefix}:{{revocations}}:{name}" for name in ("entries", "revision", "replicas", "changed")
        )
        self._replica = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._state = b""  # of the store, when it was last read
        self._opened: dict[tuple[bytes, bytes], SharedRevocation | None] = {}  # by names and sealed values
        self._is_behind = True  # the store may lack what is known here, and the other way round
        self._changed = asyncio.Event()
        self.table = RevocationTable()
        self.unusable = 0
        self.polled_at: float | None = None

    async def announce(self, selector: Selector, *, deny_until: float | None) -> Confirmation:
        """Share a revocation that was made here, and wait until all replicas have it or time is up.

        Raises:
            UnavailableError: the store did not take it. It gets it when it is back.
        """
        return await self._announce(self.table.get(selector).revoked(self._clock(), deny_until=deny_until))

    async def take_back(self, selector: Selector) -> Confirmation:
        """Share that a revocation refuses no user any more.

        Credentials from before it stay revoked. Waits and raises as ``announce``.
        """
        return await self._announce(self.table.get(selector).lifted(self._clock()))

    async def _announce(self, revocation: SharedRevocation) -> Confirmation:
        try:
            revocation.seal(self._keys[0])
        except TooLargeError:
            raise UnavailableError(Outcome.REFUSED, "the conditions are too long") from None
        self.table.put(revocation)
        self._is_behind = True  # until the store has it
        revision = await self._put(revocation)
        until = time.monotonic() + CONFIRMED_WITHIN
        self._changed.set()
        while True:
            confirmation = await self._confirmed(_number(revision))
            if confirmation.confirmed == confirmation.replicas or time.monotonic() > until:
                return confirmation
            await asyncio.sleep(_LOOK_AGAIN)

    async def load(self) -> bool:
        """Read all revocations before the process serves; return False if the store does not answer.

        The store may have lost some, or have been set back. So other replicas are asked to put them back.
        """
        try:
            await self._poll()
        except UnavailableError as error:
            _log.warning("shared_store_not_available", why=str(error))
            return False
        with contextlib.suppress(UnavailableError):  # its memory may be full
            await self._patience.probe(
                lambda: self._client.evaluate(ASK, [self._revision_key], secrets.token_hex(8), self._channel)
            )
        return True

    async def run(self) -> None:
        """Follow the revocations until cancelled; then take leave."""
        listening = asyncio.ensure_future(self._listen())
        try:
            while True:
                await asyncio.sleep(_POLLS_APART)  # however many messages come
                # Not wait_for: in Python 3.11 it may lose a cancellation, and the process would not end.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_EVERY - _POLLS_APART):
                        await self._changed.wait()
                self._changed.clear()
                try:
                    await self._poll()
                except UnavailableError:
                    self._is_behind = True  # what comes back may have lost something
                except Exception as error:  # noqa: BLE001 - whatever the store answered: it is asked again
                    _log.error("shared_store_poll_failed", kind=type(error).__name__)
        finally:
            listening.cancel()
            await asyncio.wait({listening}, timeout=_LAST_MOMENT)  # it closes its connection
            with contextlib.suppress(UnavailableError):
                await self._patience.probe(lambda: self._client.call("HDEL", self._replicas, self._replica))

    async def _poll(self) -> None:
        now = self._clock()
        for revocation in list(self.table):
            if revocation.kept_until <= now:
                self.table.remove(revocation)
        state = await self._say(self._state)
        if state != self._state or self._is_behind:
            self._is_behind = False
            try:
                await self._read()
            except BaseException:
                self._is_behind = True
                raise
            self._state = state
            await self._say(state)
        self.polled_at = time.monotonic()

    async def _say(self, state: bytes) -> bytes:
        found: bytes = await self._patience.probe(
            lambda: self._client.evaluate(
                POLL, [self._revision_key, self._replicas, self._entries], self._replica, state
            ),
        )
        return found

    async def _read(self) -> None:
        """Take over what the store has, and put there what it lacks."""
        size, found = await self._patience.probe(
            lambda: self._client.evaluate(REVOCATIONS, [self._entries], MAX_SEALED), seconds=_READ_WITHIN
        )
        items = list(zip(found[::2], found[1::2], strict=True))
        before, self._opened = self._opened, {}
        now, stored, over = self._clock(), RevocationTable(), []
        for item in items:
            revocation = self._opened[item] = before[item] if item in before else self._unsealed(*item)
            if revocation is not None and revocation.kept_until <= now:
                over.append(item[0])
            elif revocation is not None:
                stored.put(stored.get(revocation.selector).merged(revocation))
        self.unusable = size - sum(each is not None for each in self._opened.values())
        for revocation in stored:
            known = self.table.get(revocation.selector)
            merged = known.merged(revocation)
            if merged != known:
                self._apply(merged)  # first: what fails is tried again with the next poll
                self.table.put(merged)
        for revocation in list(self.table):
            if stored.get(revocation.selector) != revocation:
                await self._put(revocation)
        if over:
            await self._patience.probe(lambda: self._client.call("HDEL", self._entries, *over))

    def _unsealed(self, name: bytes, sealed: bytes) -> SharedRevocation | None:
        return unseal(self._keys, name.decode(errors="replace"), sealed)

    async def _put(self, revocation: SharedRevocation) -> bytes:
        name, *other_names = (revocation.name(keys) for keys in self._keys)
        sealed = revocation.seal(self._keys[0])
        revision: bytes = await self._patience.probe(
            lambda: self._client.evaluate(
                ANNOUNCE,
                [self._entries, self._revision_key],
                name,
                sealed,
                secrets.token_hex(8),
                self._channel,
                *other_names,
            ),
        )
        return revision

    async def _confirmed(self, number: int) -> Confirmation:
        now, said = await self._patience.probe(lambda: self._client.evaluate(REPLICAS, [self._replicas]))
        living: list[tuple[bytes, bytes]] = []
        gone: list[tuple[bytes, bytes]] = []
        for replica, last in zip(said[::2], said[1::2], strict=True):
            seen_at, _, revision = last.partition(b" ")
            (living if int(now) - _number(seen_at) <= _GONE_AFTER else gone).append((replica, revision))
        if gone:
            replicas = [replica for replica, _ in gone]
            await self._patience.probe(lambda: self._client.call("HDEL", self._replicas, *replicas))
        confirmed = sum(_number(revision) >= number for _, revision in living)
        return Confirmation(len(living), confirmed)

    async def _listen(self) -> None:
        """Have the next poll come at once when another replica announces a change."""
        while True:
            with contextlib.suppress(CallError):
                async for _ in self._client.messages(self._channel):
                    self._changed.set()
            await asyncio.sleep(_SUBSCRIBE_AGAIN)


def _number(written: bytes) -> int:
    """Return the number at the beginning; 0 for anything that a replica does not write."""
    digits = written.partition(b" ")[0]
    return int(digits) if digits.isdigit() else 0
