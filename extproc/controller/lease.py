"""Leader election by a Lease: of several replicas one writes.

As in client-go: the holder renews; others take a Lease whose ``renewTime`` has not changed for its duration,
by their own clocks, so that clocks need not agree. The holder stops before others may start.
"""

import asyncio
import datetime as dt
import time

import structlog

from extproc.controller.api import CONFLICT, NOT_FOUND, Api, ApiError
from extproc.controller.kinds import LEASE, Object

_log = structlog.get_logger(__name__)
DURATION, DEADLINE, EVERY = (
    15.0,
    10.0,
    2.0,
)  # seconds: until others take it, until the holder gives up, between attempts


class LostLeadershipError(Exception):
    """The Lease could not be renewed in time: another replica may be the leader."""


class Lease:
    """A Lease, and this process as a candidate. ``identity``: unique among candidates."""

    def __init__(self, api: Api, namespace: str, name: str, identity: str) -> None:
        self._api, self._namespace, self._name, self._identity = api, namespace, name, identity
        self._seen: tuple[object, object] | None = None
        self._seen_at = 0.0

    async def acquire(self) -> None:
        """Wait until this process is the leader."""
        while not await self._try():  # noqa: ASYNC110 - what changes is in another process
            await asyncio.sleep(EVERY)
        _log.info("leading", lease=self._name)

    async def hold(self) -> None:
        """Renew until that fails for too long; raises ``LostLeadershipError``."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(EVERY)
            try:
                async with asyncio.timeout(DEADLINE - (time.monotonic() - renewed)):
                    if await self._try():
                        renewed = time.monotonic()
            except TimeoutError:
                raise LostLeadershipError(self._name) from None
            if time.monotonic() - renewed > DEADLINE:
                raise LostLeadershipError(self._name)

    async def release(self) -> None:
        """Give the Lease up, so that another replica needs not wait for its end."""
        try:
            found = await self._api.get(LEASE, self._namespace, self._name)
            if found["spec"].get("holderIdentity") == self._identity:
                found["spec"]["holderIdentity"] = ""
                await self._api.replace(LEASE, found)
        except ApiError as failure:
            _log.info("lease_not_released", reason=str(failure)[:300])

    async def _try(self) -> bool:
        """Return whether this process holds the Lease now."""
        try:
            try:
                found = await self._api.get(LEASE, self._namespace, self._name)
            except ApiError as failure:
                if failure.code != NOT_FOUND:
                    raise
                await self._api.create(LEASE, self._with({}, metadata={}))
                return True
            spec = found.get("spec") or {}
            holder, seen = spec.get("holderIdentity"), (spec.get("holderIdentity"), spec.get("renewTime"))
            if seen != self._seen:
                self._seen, self._seen_at = seen, time.monotonic()
            is_ours = holder == self._identity
            if holder and not is_ours and time.monotonic() - self._seen_at < DURATION:
                return False
            await self._api.replace(LEASE, self._with(spec, metadata=found["metadata"]))
        except ApiError as failure:
            if failure.code != CONFLICT:
                _log.warning("lease_not_renewed", reason=str(failure)[:300])
            return False
        return True

    def _with(self, spec: Object, *, metadata: Object) -> Object:
        """Return the Lease held by this process."""
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        is_ours = spec.get("holderIdentity") == self._identity
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": LEASE.name,
            "metadata": {**metadata, "name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(DURATION),
                "acquireTime": spec.get("acquireTime") if is_ours else now,
                "renewTime": now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if is_ours else 1),
            },
        }
