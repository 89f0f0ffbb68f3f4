"""A copy of all objects of one kind in one namespace, kept up to date.

It outlives everything that ends a watch: 410 (the version is too old), a restart of the API server, lost
permissions, a kind that is not installed. While it cannot read it keeps what it has: objects that are not
seen are not objects that were deleted.
"""

import asyncio
from collections.abc import Callable

import structlog

from extproc.controller.api import GONE, NOT_FOUND, Api, ApiError
from extproc.controller.backoff import Backoff
from extproc.controller.kinds import Kind, Object, name_of

_log = structlog.get_logger(__name__)
_AFTER_GONE = 0.2  # seconds
_ABSENT_AFTER = 3  # an API server that starts answers 404 for a moment to kinds that it will serve


class Informer:
    """Objects by name.

    Attributes:
        version: of the API, of those that the kind may have.
        items: the objects as last seen.
        synced: set once the objects were listed, or the kind turned out not to be installed.
        failure: why it cannot read now; None if it can.
    """

    def __init__(
        self, api: Api, kind: Kind, namespace: str, on_change: Callable[[Kind, str, Object], None]
    ) -> None:
        self._api, self.kind, self.namespace, self._on_change = api, kind, namespace, on_change
        self.version = kind.versions[0]
        self.items: dict[str, Object] = {}
        self.synced = asyncio.Event()
        self.failure: str | None = None

    async def run(self) -> None:
        """List and watch until cancelled."""
        backoff, not_found, was_served = Backoff(), 0, False
        while True:
            try:
                since = await self._list()
                was_served, not_found = True, 0
                backoff.reset()
                async for change, item in self._api.watch(self.kind, self.version, self.namespace, since):
                    self._take(change, item)
            except ApiError as failure:
                if failure.code == GONE:
                    await asyncio.sleep(_AFTER_GONE)
                    continue
                if failure.code == NOT_FOUND and not was_served:
                    not_found += 1
                    if not_found >= _ABSENT_AFTER:
                        self.synced.set()
                self._failed(str(failure))
                await asyncio.sleep(backoff.next())

    async def _list(self) -> str:
        """Replace the copy; return the version of the list."""
        for position, version in enumerate(self.kind.versions):
            try:
                items, since = await self._api.list(self.kind, version, self.namespace)
            except ApiError as failure:
                if failure.code != NOT_FOUND or position == len(self.kind.versions) - 1:
                    raise
                continue
            self.version = version
            break
        before, self.items = self.items, {name_of(item): item for item in items}
        if self.failure is not None:
            _log.info("watching_again", kind=self.kind.name, namespace=self.namespace)
        self.failure = None
        self.synced.set()
        for name in before.keys() | self.items.keys():
            if before.get(name) != self.items.get(name):
                self._on_change(self.kind, self.namespace, self.items.get(name) or before[name])
        return since

    def _take(self, change: str, item: Object) -> None:
        if change == "DELETED":
            self.items.pop(name_of(item), None)
        elif change in ("ADDED", "MODIFIED"):
            self.items[name_of(item)] = item
        else:
            return
        self._on_change(self.kind, self.namespace, item)

    def _failed(self, reason: str) -> None:
        if self.failure is None:
            _log.warning("cannot_watch", kind=self.kind.name, namespace=self.namespace, reason=reason[:300])
        self.failure = reason
