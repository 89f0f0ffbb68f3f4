"""The shared store as one object: what shares credentials, what shares revocations, and their life."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from extproc.clock import Clock
from extproc.shared_store.calls import Client
from extproc.shared_store.keys import ServerKeys
from extproc.shared_store.patience import Patience
from extproc.shared_store.revocation_entries import SharedRevocation
from extproc.shared_store.revocations import SharedRevocations
from extproc.shared_store.sharing import StoreSharing
from extproc.shared_store.writer import Writer
from extproc.sts.breaker import CircuitBreaker
from extproc.telemetry.state import SharedStoreCounts

_FAILURES = 3  # in a row: one call may be slow by chance
_OPEN_FOR = 0.4  # seconds: less than between two polls, so that each of them probes
_LOADED_WITHIN = 2.0  # seconds that a start waits for the revocations
_TRY_AGAIN = 0.1  # seconds
_STALE_AFTER = 5.0  # seconds without a poll: revocations of other replicas may be missing


class SharedStore:
    """Credentials and revocations in one store. Belongs to one event loop.

    Args:
        apply: acts on a revocation that came from another replica.
        exchange_site: the STS endpoint and region.
        margin: seconds before their end in which credentials are not used.
        timeout: seconds that a request waits for the store.
        at_once: the most calls at one time.
        clock: AWS's, by which credentials are dated.
    """

    def __init__(
        self,
        client: Client,
        *,
        keys: Sequence[ServerKeys],
        apply: Callable[[SharedRevocation], None],
        exchange_site: str,
        margin: float,
        timeout: float,
        at_once: int,
        prefix: str,
        clock: Clock,
    ) -> None:
        self._client = client
        self._breaker = CircuitBreaker(failures=_FAILURES, open_for=_OPEN_FOR, clock=time.monotonic)
        self._patience = Patience(breaker=self._breaker, seconds=timeout, at_once=at_once)
        self._writer = Writer(self._client, self._patience, clock=clock)
        self.revocations = SharedRevocations(
            self._client, self._patience, keys=keys, apply=apply, clock=clock, prefix=prefix
        )
        self.sharing = StoreSharing(
            client=self._client,
            patience=self._patience,
            writer=self._writer,
            keys=keys,
            revoked_at=self.revocations.table.revoked_at,
            exchange_site=exchange_site,
            margin=margin,
            prefix=prefix,
            clock=clock,
        )
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load the revocations, if the store answers, and follow it from then on."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOADED_WITHIN):
                while not await self.revocations.load():  # noqa: ASYNC110 - nothing says when it is back
                    await asyncio.sleep(_TRY_AGAIN)
        self._running = [asyncio.create_task(work) for work in (self._writer.run(), self.revocations.run())]

    async def close(self) -> None:
        """Write what waits, take leave and close the connections."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._client.close()

    def degraded(self) -> list[str]:
        """Return what is wrong with the store, as seen from here."""
        problems = []
        if self._patience.is_open or self._poll_age() > _STALE_AFTER:
            why = self._patience.failure or "no answer"
            problems.append(
                f"shared store: not available ({why}); credentials and revocations are not shared"
            )
        if self.revocations.unusable:
            problems.append(
                f"shared store: {self.revocations.unusable} revocations do not open; do all replicas have "
                "the same cache.shared.secret_file?"
            )
        return problems

    def counts(self) -> SharedStoreCounts:
        """Return what happened so far, for metrics."""
        return SharedStoreCounts(
            calls=self._patience.outcomes,
            lookups=self.sharing.lookups,
            writes=self._writer.outcomes,
            waits=self.sharing.waits,
            writes_waiting=len(self._writer),
            breaker=self._breaker.state,
            poll_age=self._poll_age(),
            unusable_revocations=self.revocations.unusable,
        )

    def _poll_age(self) -> float:
        polled_at = self.revocations.polled_at
        return float("inf") if polled_at is None else time.monotonic() - polled_at
