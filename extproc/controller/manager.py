"""Runs the controller: informers, leader election, one worker."""

import asyncio
import contextlib
from typing import Any

import structlog

from extproc.controller.api import Api, ApiError
from extproc.controller.informer import Informer
from extproc.controller.kinds import REFERRED, SOURCES, WRITTEN, Key, Kind, Object
from extproc.controller.lease import Lease, LostLeadershipError
from extproc.controller.reconciler import Copies, Reconciler, keys_of, written_as
from extproc.controller.reports import Reports
from extproc.controller.work_queue import WorkQueue

RESYNC = 300.0  # seconds
_log = structlog.get_logger(__name__)


class Manager:
    """The controller of some namespaces.

    Args:
        base: sections of each configuration that are the operator's.
        service: extproc's Service.
        identity: the name of this process.
    """

    def __init__(
        self,
        api: Api,
        namespaces: list[str],
        lease: Lease,
        *,
        base: dict[str, Any],
        service: str,
        identity: str,
    ) -> None:
        self._queue, self._lease = WorkQueue(), lease
        self._copies: dict[str, Copies] = {}
        for namespace in namespaces:
            watched = {kind.name: kind for kind in (*SOURCES, *REFERRED)}
            watched |= {written_as(kind): kind for kind in WRITTEN}
            self._copies[namespace] = {
                name: Informer(api, kind, namespace, self._changed) for name, kind in watched.items()
            }
        self._reconciler = Reconciler(api, self._copies, Reports(api, identity), base=base, service=service)
        self.is_leader = False

    async def run(self, stopped: asyncio.Event) -> None:
        """Work until ``stopped`` is set; raises ``LostLeadershipError``."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(each.run()) for each in self._informers()]
                tasks.append(group.create_task(self._lead()))
                await stopped.wait()
                for task in tasks:
                    task.cancel()
        except* LostLeadershipError as errors:
            raise errors.exceptions[0] from None
        if self.is_leader:
            await self._lease.release()

    def unsynced(self) -> list[str]:
        """Return the kinds that were never read."""
        return sorted(
            f"{each.namespace}/{each.kind.name}: {each.failure or 'not read yet'}"
            for each in self._informers()
            if not each.synced.is_set()
        )

    def _informers(self) -> list[Informer]:
        return [each for copies in self._copies.values() for each in copies.values()]

    async def _lead(self) -> None:
        # Nothing is decided before all is read: what was not seen yet is not gone.
        for each in self._informers():
            await each.synced.wait()
        await self._lease.acquire()
        self.is_leader = True
        working = asyncio.create_task(self._work())
        again = asyncio.create_task(self._add_all())
        try:
            await self._lease.hold()
        finally:
            again.cancel()
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working

    async def _add_all(self) -> None:
        """Add every source now and then: for what no event shows, like a conflict that has gone."""
        while True:
            await asyncio.sleep(RESYNC)
            for namespace, copies in self._copies.items():
                for kind in SOURCES:
                    for name in copies[kind.name].items:
                        self._queue.add(Key(namespace, kind.name, name))

    async def _work(self) -> None:
        while True:
            key = await self._queue.next()
            try:
                await self._reconciler.reconcile(key)
            except ApiError as failure:
                self._queue.failed(key)
                _log.warning("not_reconciled", source=str(key), code=failure.code, reason=str(failure)[:300])
            except Exception:  # noqa: BLE001 - one source must not end the work on others
                self._queue.failed(key)
                _log.exception("reconcile_failed", source=str(key))
            else:
                self._queue.succeeded(key)

    def _changed(self, kind: Kind, namespace: str, item: Object) -> None:
        keys_of(kind, namespace, item, self._copies[namespace], add=self._queue.add)
