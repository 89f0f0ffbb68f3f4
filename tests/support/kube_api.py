"""The controller's seam to Kubernetes in memory: objects with versions, failures on demand."""

import asyncio
import copy
import itertools
import uuid

from extproc.controller.api import CONFLICT, NOT_FOUND, ApiError
from extproc.controller.kinds import MANAGER, name_of


class FakeApi:
    """Attributes: ``calls``: (verb, kind, name) of each change; ``failing``: code with which all calls fail;
    ``refused``: codes with which applying a kind fails; ``vanishing``: (plural, namespace, name) of an object
    that is deleted before it is applied next."""

    def __init__(self):
        self.objects, self.calls, self.failing, self.refused = {}, [], None, {}
        self.vanishing = None
        self._versions, self._watches = itertools.count(1), []

    def put(self, kind, item):
        """Store an object as a user does, and show it to watches."""
        stored = copy.deepcopy(item)
        key = (kind.plural, item["metadata"]["namespace"], name_of(item))
        before = self.objects.get(key)
        stored["metadata"]["uid"] = before["metadata"]["uid"] if before else str(uuid.uuid4())
        if "spec" in stored:
            last = before["metadata"]["generation"] if before else 0
            changed = before is None or before["spec"] != stored["spec"]
            stored["metadata"]["generation"] = last + changed
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key] = stored
        self._show(kind, "MODIFIED" if before else "ADDED", stored)
        return stored

    def remove(self, kind, namespace, name):
        item = self.objects.pop((kind.plural, namespace, name), None)
        if item is None:
            return
        self._show(kind, "DELETED", item)

    def hide(self, kind, namespace, name):
        """Let watches believe that an object, which is there, has gone."""
        self._show(kind, "DELETED", self.objects[kind.plural, namespace, name])

    def end_watches(self, code):
        """End all watches with a failure."""
        for _, queue in self._watches:
            queue.put_nowait(ApiError(code, "ended"))

    def _show(self, kind, change, item):
        for watched, queue in self._watches:
            if watched.plural == kind.plural and _matches(watched, item):
                queue.put_nowait((change, copy.deepcopy(item)))

    def _check(self):
        if self.failing:
            raise ApiError(self.failing, "failing")

    async def list(self, kind, version, namespace):
        self._check()
        found = [
            copy.deepcopy(item)
            for (plural, place, _), item in self.objects.items()
            if plural == kind.plural and place == namespace and _matches(kind, item)
        ]
        return found, str(next(self._versions))

    async def watch(self, kind, version, namespace, since):
        self._check()
        queue = asyncio.Queue()
        self._watches.append((kind, queue))
        try:
            while True:
                found = await queue.get()
                if isinstance(found, ApiError):
                    raise found
                yield found
        finally:
            self._watches.remove((kind, queue))

    async def get(self, kind, namespace, name):
        self._check()
        found = self.objects.get((kind.plural, namespace, name))
        if found is None:
            raise ApiError(NOT_FOUND, "not found")
        return copy.deepcopy(found)

    async def find(self, kind, namespace, name):
        self._check()
        return copy.deepcopy(self.objects.get((kind.plural, namespace, name)))

    async def apply(self, kind, item, *, force=True):
        self._check()
        if kind.name in self.refused:
            raise ApiError(self.refused[kind.name], "refused")
        key = (kind.plural, item["metadata"]["namespace"], name_of(item))
        if key == self.vanishing:
            self.vanishing = self.remove(kind, *key[1:])
        before = self.objects.get(key)
        if item["metadata"].get("uid") and not before:
            raise ApiError(CONFLICT, "uid mismatch")
        self.calls.append(("apply", kind.name, name_of(item)))
        kept = {name: before[name] for name in ("data", "status") if before and name in before}
        item = copy.deepcopy({**kept, **item})
        if before:  # as server-side apply does
            for name, values in before["metadata"].items():
                mine = item["metadata"].get(name)
                item["metadata"][name] = {**values, **mine} if isinstance(mine, dict) else (mine or values)
        item["metadata"]["managedFields"] = [{"manager": MANAGER, "operation": "Apply"}]
        return copy.deepcopy(self.put(kind, item))

    async def apply_status(self, kind, version, item):
        self._check()
        self.calls.append(("status", kind.name, name_of(item)))
        found = copy.deepcopy(self.objects[kind.plural, item["metadata"]["namespace"], name_of(item)])
        self.put(kind, {**found, "status": item["status"]})

    async def create(self, kind, item):
        self._check()
        if (kind.plural, item["metadata"]["namespace"], name_of(item)) in self.objects:
            raise ApiError(CONFLICT, "exists")
        self.calls.append(("create", kind.name, name_of(item)))
        return self.put(kind, item)

    async def replace(self, kind, item):
        self._check()
        found = await self.get(kind, item["metadata"]["namespace"], name_of(item))
        if found["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            raise ApiError(CONFLICT, "changed")
        return self.put(kind, item)

    async def delete(self, kind, namespace, name):
        self._check()
        self.calls.append(("delete", kind.name, name))
        self.remove(kind, namespace, name)


def _matches(kind, item):
    labels = item["metadata"].get("labels") or {}
    return all(labels.get(name) == value for name, value in kind.labels)
