"""Hot reload: puts a new snapshot in the place of the running one, unless the new one is no good."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from extproc.app import snapshot
from extproc.app.changes import FIXED_AT_START, applicable, same
from extproc.app.factories import slot_limits
from extproc.app.process_state import ProcessState
from extproc.app.snapshot import Snapshot
from extproc.authn.keys import KeyStore, RefreshPolicy
from extproc.config import ConfigError, Settings

FINISH_WITHIN = 30.0
"""Seconds after which a request that began under an older configuration is no longer authorized by it."""

_log = structlog.get_logger(__name__)


class Reloader:
    """Holds the snapshot that counts, and replaces it. Belongs to one event loop.

    ``load`` reads the configuration file, and may block. ``workers``: how many processes share the limits.
    """

    def __init__(
        self, *, first: Snapshot, state: ProcessState, load: Callable[[], Settings], workers: int = 1
    ) -> None:
        self._workers = workers
        self._current = first
        self._state = state
        self._load = load
        self._at_start = self._last_read = first.settings
        self._problems: list[str] = []
        self._waiting: list[str] = []
        self._one_at_a_time = asyncio.Lock()
        self._fetching: dict[KeyStore, asyncio.Task[None]] = {}
        state.slots.apply(slot_limits(first.settings, workers=workers))
        state.metrics.started(at=state.clock())
        self._expect(first)

    @property
    def current(self) -> Snapshot:
        """The snapshot that counts now. Take it once, and keep to it."""
        return self._current

    @property
    def problems(self) -> list[str]:
        """Why the last reload was refused; empty if it was not."""
        return list(self._problems)

    @property
    def degraded(self) -> list[str]:
        """In what the running configuration is not the one in the file."""
        return [
            *(f"configuration: not reloaded: {problem}" for problem in self._problems),
            *(f"configuration: {name} needs a restart" for name in self._waiting),
        ]

    @property
    def waits_for_restart(self) -> dict[str, bool]:
        """Of each setting that is fixed at the start, whether the file has another value now."""
        return {name.partition(" ")[0]: name in self._waiting for name in FIXED_AT_START}

    @property
    def watched(self) -> list[Path]:
        """Further files that the running configuration comes from."""
        return list(self._current.key_files.values())

    def start(self) -> None:
        """Begin to fetch keys."""
        self._keep_fresh(self._current.key_stores.values())

    def close(self) -> None:
        """Fetch no more keys."""
        self._keep_fresh(())
        self._current.pipeline.close()

    async def reload(self) -> list[str]:
        """Read the configuration file and go by it; returns why not, as ``path: message`` lines.

        Requests that are under way end under the configuration with which they began.
        """
        async with self._one_at_a_time:
            try:
                outcome = await self._reload()
                if outcome == "unchanged" and self._problems:
                    _log.info("config_good_again")  # what was read last is back
                self._problems = []
            except ConfigError as error:
                outcome, self._problems = "failed", error.problems
            except Exception as error:  # noqa: BLE001 - whatever the file does, the running configuration stays
                outcome, self._problems = "failed", [f"document: cannot be used ({type(error).__name__})"]
            for problem in self._problems:
                _log.error("config_not_reloaded", problem=problem)
            self._state.metrics.reloaded(outcome, at=self._state.clock())
            await _fetch(self._current.key_stores[name] for name in self._current.key_files)
            return list(self._problems)

    async def _reload(self) -> str:
        wanted = await asyncio.to_thread(self._load)
        if same(wanted, self._last_read):
            return "unchanged"
        before = self._current
        settings, waiting = applicable(wanted, self._at_start)
        # In a thread: compiling rules takes a while, and must not hold up requests.
        after = await asyncio.to_thread(snapshot.build, settings, self._state, before=before)
        # With its keys at hand: else the first requests under it would have to wait for them.
        await _fetch(set(after.key_stores.values()) - set(before.key_stores.values()))
        self._current, self._last_read, self._waiting = after, wanted, waiting
        self._state.slots.apply(slot_limits(settings, workers=self._workers))
        asyncio.get_running_loop().call_later(FINISH_WITHIN, before.pipeline.retire)
        self._expect(after)
        self._keep_fresh(after.key_stores.values())
        dropped = self._forget(after)
        _log.info("config_reloaded", sessions_dropped=dropped)
        for name in waiting:
            _log.warning("config_needs_restart", setting=name)
        return "applied"

    def _expect(self, snapshot: Snapshot) -> None:
        """Have what can be counted under a snapshot shown before it happens."""
        self._state.metrics.expect(
            targets=[target.name for target in snapshot.settings.targets], issuers=snapshot.key_stores
        )

    def _forget(self, after: Snapshot) -> int:
        """Drop what was held of issuers that are not the same; returns how many sessions.

        For memory's sake: ``Verifier.still_trusted`` refuses such sessions by itself, also those
        that a request under the older configuration is only about to open.
        """
        state = self._state
        dropped = state.sessions.drop_where(lambda session: not after.verifier.knows(session.identity))
        issuers = {issuer.issuer for issuer in after.settings.issuers}
        state.credentials.drop_where(lambda session, _grant: session.identity.issuer not in issuers)
        state.credentials.renew_only_what_is_used_again()
        return len(dropped)

    def _keep_fresh(self, stores: Iterable[KeyStore]) -> None:
        """Fetch the keys of these stores on schedule, and of no others."""
        wanted = set(stores)
        for store in self._fetching.keys() - wanted:
            self._fetching.pop(store).cancel()
        for store in wanted - self._fetching.keys():
            self._fetching[store] = asyncio.create_task(store.keep_fresh())


async def _fetch(stores: Iterable[KeyStore]) -> None:
    """Fetch the keys of stores, and wait for them as long as a request would."""
    fetches = [store.refresh() for store in stores]
    if fetches:
        await asyncio.wait(fetches, timeout=RefreshPolicy().wait)
