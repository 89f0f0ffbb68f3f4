"""The key set of one issuer over time.

A lookup of a known key never waits. Keys are fetched in the background on a schedule, and for an
unknown ``kid`` at most once per cooldown, whether the last fetch succeeded or not. A document without
a usable key never replaces a key set.
"""

import asyncio
import contextlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog

from extproc.authn.jwks import KeyDocumentError, KeySet, VerificationKey, parse_key_set
from extproc.authn.own_thread import in_own_thread
from extproc.clock import Clock
from extproc.errors import Denied, Reason

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """A fetched JWK Set.

    Attributes:
        max_age: seconds that the provider says it stays fresh, or None.
        date: the ``Date`` header of the response, or None.
    """

    body: bytes = field(repr=False)
    max_age: float | None = None
    date: str | None = None


class KeySource(Protocol):
    """The source of one issuer's JWK Set."""

    async def fetch(self) -> KeyDocument:
        """Fetch it once, within bounded time; raise ``KeyDocumentError`` on failure."""
        ...


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """The times at which keys are fetched again. All in seconds.

    Attributes:
        interval: between scheduled fetches, without Cache-Control.
        shortest: lower bound of an interval from Cache-Control.
        longest: its upper bound.
        cooldown: between fetches that unknown kids or failures cause.
        first_retry: after the first failure while there are no keys; doubles up to the cooldown.
        max_staleness: age at which a key set is no longer used.
        wait: the longest that a request waits for a fetch.
        fetch_limit: the longest that a fetch takes before it counts as failed.
    """

    interval: float = 300.0
    shortest: float = 60.0
    longest: float = 3600.0
    cooldown: float = 30.0
    first_retry: float = 1.0
    max_staleness: float = 86_400.0
    wait: float = 5.0
    fetch_limit: float = 30.0


class KeyStore:
    """The current key set of one issuer. Belongs to one event loop.

    Attributes:
        source_key: what the store was built from; after a reload, a store with an equal one is reused.
        on_fetch: called after each fetch with whether it succeeded.
    """

    def __init__(
        self,
        *,
        issuer: str,
        source: KeySource,
        clock: Clock,
        refresh: RefreshPolicy,
        source_key: Hashable = None,
        on_fetch: Callable[[bool], None] = lambda _ok: None,
    ) -> None:
        self.source_key = source_key
        self._issuer = issuer
        self._source = source
        self._clock = clock
        self._policy = refresh
        self._on_fetch = on_fetch
        self._current: KeySet | None = None
        self._fetched_at = float("-inf")
        self._attempted_at = float("-inf")
        self._next_due = float("-inf")
        self._failure: str | None = None
        self._failures_at_start = 0
        self._fetching: asyncio.Task[None] | None = None

    @property
    def fetched_at(self) -> float:
        """Seconds since the epoch at which the current set was fetched; minus infinity if never."""
        return self._fetched_at

    @property
    def age(self) -> float:
        """Seconds since the current set was fetched; infinity if never."""
        return self._clock() - self._fetched_at

    @property
    def failure(self) -> str | None:
        """Why the last fetch failed; None if it succeeded."""
        return self._failure

    def current(self) -> KeySet | None:
        """Return the last good set, unless it is older than ``max_staleness``. Does no I/O."""
        if self._clock() - self._fetched_at > self._policy.max_staleness:
            return None
        return self._current

    async def find(self, kid: str | None, algorithm: str) -> VerificationKey:
        """Return the key that a token names; wait for the network only if the name is unknown.

        Raises:
            Denied: ``KEY_UNKNOWN``, or ``KEYS_UNAVAILABLE`` if there is no usable set.
        """
        keys = self.current()
        if keys is None or not keys.has_kid(kid):
            await self._refresh_within_cooldown()
            keys = self.current()
        if keys is None:
            raise Denied(Reason.KEYS_UNAVAILABLE, f"no keys of {self._issuer}: {self._failure}")
        key = keys.find(kid, algorithm)
        if key is None:
            raise Denied(Reason.KEY_UNKNOWN, f"no key of {self._issuer} fits kid and alg")
        return key

    async def _refresh_within_cooldown(self) -> None:
        """Wait for a fetch: the one under way, or a new one if none was started within the cooldown.

        The cooldown also follows failed fetches: clients choose the ``kid``, and must not be able to make
        this server send requests to the provider at will.
        """
        # A negative age means the clock was set back; fetching must not stop until it has caught up.
        if self._fetching is None and 0 <= self._clock() - self._attempted_at < self._policy.cooldown:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.refresh()), self._policy.wait)

    def refresh(self) -> asyncio.Task[None]:
        """Return the task of the fetch under way, or start one. The task never fails; see ``failure``."""
        if self._fetching is None:
            self._attempted_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        policy = self._policy
        try:
            async with asyncio.timeout(policy.fetch_limit):  # name resolution may hang longer
                document = await self._source.fetch()
                keys = await in_own_thread(partial(parse_key_set, document.body), name="keys")
        except Exception as error:  # noqa: BLE001 - whatever the provider does, keep the last good set
            self._failure = str(error) if isinstance(error, KeyDocumentError) else type(error).__name__
            self._next_due = self._clock() + self._retry_delay()
            self._on_fetch(False)  # noqa: FBT003 - the callback's one argument
            _log.warning("jwks_fetch_failed", issuer=self._issuer, error=self._failure)
        else:
            now = self._clock()
            fresh_for = policy.interval if document.max_age is None else document.max_age
            self._current = keys
            self._fetched_at = now
            self._next_due = now + min(max(fresh_for, policy.shortest), policy.longest)
            self._failure = None
            self._on_fetch(True)  # noqa: FBT003
            for refusal in keys.refused:
                _log.warning("jwks_key_refused", issuer=self._issuer, key=refusal)
        finally:
            self._fetching = None

    def _retry_delay(self) -> float:
        """Return the seconds until the next attempt. Short without keys: the provider may be starting too."""
        if self._current is not None:
            return self._policy.cooldown
        delay = self._policy.first_retry * 2.0 ** min(self._failures_at_start, 16)
        self._failures_at_start += 1
        return min(delay, self._policy.cooldown)

    async def keep_fresh(self) -> None:
        """Fetch at start and then on schedule, until cancelled."""
        while True:
            now = self._clock()
            if self._attempted_at <= now < self._next_due:
                # Short sleeps: the clock may be stepped, and another fetch may have moved the due time.
                await asyncio.sleep(min(self._next_due - now, 5.0))
            else:
                # Shielded: requests may wait for this fetch when the schedule is cancelled.
                await asyncio.shield(self.refresh())
