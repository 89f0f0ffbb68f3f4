"""Hot reload: replaces the running snapshot by a new one, if the new configuration is valid."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from extproc.app import snapshot
from extproc.app.changes import FIXED_AT_START, applicable, same
from extproc.app.factories import build_rate_limits, slot_limits
from extproc.app.process_state import ProcessState
from extproc.app.snapshot import Snapshot
from extproc.authn.keys import KeyStore, RefreshPolicy
from extproc.config import ConfigError, Settings

RETIRE_AFTER = 30.0
"""Seconds after a reload until the older configuration authorizes no request any more."""

_log = structlog.get_logger(__name__)


class Reloader:
    """Holds the current snapshot, and replaces it. Belongs to one event loop.

    Args:
        load: reads the configuration file; may block.
        workers: how many processes share the limits.
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
        self._need_restart: list[str] = []
        self._reloading = asyncio.Lock()
        self._fetching: dict[KeyStore, asyncio.Task[None]] = {}
        state.slots.apply(slot_limits(first.settings, workers=workers))
        state.token_exchanges.apply(first.token_exchanges, first.verifier)
        state.metrics.started(at=state.clock())
        state.shadow.load(first.settings)
        self._expect(first)

    @property
    def current(self) -> Snapshot:
        """The current snapshot. Read it once for each request or call."""
        return self._current

    @property
    def problems(self) -> list[str]:
        """The reasons why the last reload was refused; empty if it was not."""
        return list(self._problems)

    @property
    def degraded(self) -> list[str]:
        """The differences between the running configuration and the one in the file."""
        return [
            *(f"configuration: not reloaded: {problem}" for problem in self._problems),
            *(f"configuration: {name} needs a restart" for name in self._need_restart),
            *self._state.shadow.problems,
        ]

    @property
    def waits_for_restart(self) -> dict[str, bool]:
        """Settings that are fixed at the start; true if the file has another value now."""
        return {name.partition(" ")[0]: name in self._need_restart for name in FIXED_AT_START}

    @property
    def watched(self) -> list[Path]:
        """Files with keys, and the candidate, that the running configuration reads."""
        shadow = self._current.settings.shadow
        return [*self._current.key_files.values(), *([Path(shadow)] if shadow else [])]

    def start(self) -> None:
        """Start fetching keys."""
        self._keep_fresh(self._current.key_stores.values())

    def close(self) -> None:
        """Stop fetching keys and making decisions."""
        self._keep_fresh(())
        self._state.shadow.close()
        self._current.pipeline.close()

    async def reload(self) -> list[str]:
        """Read the configuration file and apply it; return the problems with it, as ``path: message`` lines.

        Open requests end under the configuration with which they began.
        """
        async with self._reloading:
            try:
                outcome = await self._reload()
                if outcome == "unchanged" and self._problems:
                    _log.info("config_good_again")  # the file holds the running configuration again
                self._problems = []
            except ConfigError as error:
                outcome, self._problems = "failed", error.problems
            except Exception as error:  # noqa: BLE001 - the running configuration must survive any file
                outcome, self._problems = "failed", [f"document: cannot be used ({type(error).__name__})"]
            for problem in self._problems:
                _log.error("config_not_reloaded", problem=problem)
            self._state.metrics.reloaded(outcome, at=self._state.clock())
            # Last, and in a thread: the running configuration never waits for the candidate.
            await asyncio.to_thread(self._state.shadow.load, self._current.settings)
            await _fetch(self._current.key_stores[name] for name in self._current.key_files)
            return list(self._problems)

    async def _reload(self) -> str:
        wanted = await asyncio.to_thread(self._load)
        if same(wanted, self._last_read):
            return "unchanged"
        before = self._current
        settings, need_restart = applicable(wanted, self._at_start)
        # In a thread: compiling rules takes long, and must not delay requests.
        after = await asyncio.to_thread(snapshot.build, settings, self._state, before=before)
        # Fetch new keys before the switch, so that the first requests need not wait for them.
        await _fetch(set(after.key_stores.values()) - set(before.key_stores.values()))
        self._current, self._last_read, self._need_restart = after, wanted, need_restart
        self._state.slots.apply(slot_limits(settings, workers=self._workers))
        self._state.token_exchanges.apply(after.token_exchanges, after.verifier)
        asyncio.get_running_loop().call_later(RETIRE_AFTER, before.pipeline.authorization.retire)
        self._expect(after)
        self._keep_fresh(after.key_stores.values())
        dropped = self._forget(after)
        _log.info("config_reloaded", sessions_dropped=dropped)
        for name in need_restart:
            _log.warning("config_needs_restart", setting=name)
        return "applied"

    def _expect(self, snapshot: Snapshot) -> None:
        """Show the series that can occur under a snapshot from now on, at 0."""
        self._state.metrics.expect(
            targets=[target.name for target in snapshot.settings.targets],
            issuers=snapshot.key_stores,
            token_exchanges=snapshot.token_exchanges,
            break_glass=snapshot.settings.break_glass_mappings,
            rate_limits=[limit.name for limit in build_rate_limits(snapshot.settings)],
        )

    def _forget(self, after: Snapshot) -> int:
        """End the sessions of issuers that are no longer configured; return how many.

        Those of issuers with other settings stay, but count for nothing until their tokens are verified
        again (``Verifier.still_trusted``): their credentials are still good, and to exchange all tokens
        anew at once would be too much for STS.
        """
        state = self._state
        issuers = {issuer.issuer for issuer in after.settings.issuers}
        ended = state.sessions.end_where(lambda session: session.identity.issuer not in issuers)
        state.credentials.renew_only_what_is_used_again()
        return len(ended)

    def _keep_fresh(self, stores: Iterable[KeyStore]) -> None:
        """Fetch the keys of exactly these stores on schedule."""
        wanted = set(stores)
        for store in self._fetching.keys() - wanted:
            self._fetching.pop(store).cancel()
        for store in wanted - self._fetching.keys():
            self._fetching[store] = asyncio.create_task(store.keep_fresh())


async def _fetch(stores: Iterable[KeyStore]) -> None:
    """Fetch the keys of stores, and wait for them no longer than a request would."""
    fetches = [store.refresh() for store in stores]
    if fetches:
        await asyncio.wait(fetches, timeout=RefreshPolicy().wait)
