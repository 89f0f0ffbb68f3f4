"""Conditions and events, written to the objects that they are about."""

import datetime as dt
import json

import structlog

from extproc.controller.api import CONFLICT, NOT_FOUND, Api, ApiError
from extproc.controller.conditions import ACCEPTED, PROGRAMMED, RESOLVED, Finding, merged, same
from extproc.controller.informer import Informer
from extproc.controller.kinds import (
    CONDITIONS,
    EVENT,
    MANAGER,
    SOURCE_MAP,
    Key,
    Object,
    annotations,
    metadata,
)

_log = structlog.get_logger(__name__)
_LONGEST_NOTE = 1024


class Reports:
    """Writes what was found, once for each change. ``instance``: the name of this process in events."""

    def __init__(self, api: Api, instance: str) -> None:
        self._api, self._instance = api, instance

    async def write(self, key: Key, copy: Informer, source: Object, findings: list[Finding]) -> None:
        """Write the conditions of a source, and an event if one of them turned; raises ``ApiError``."""
        before = _before(key, source)
        conditions = merged(findings, before, metadata(source).get("generation"))
        if same(conditions, before):
            return
        item: Object = {
            "apiVersion": source.get("apiVersion"),
            "kind": key.kind,
            "metadata": {"name": key.name, "namespace": key.namespace},
        }
        try:
            if key.kind == SOURCE_MAP.name:
                item["apiVersion"] = "v1"
                item["metadata"]["uid"] = metadata(source)["uid"]  # one that has gone is not made anew
                item["metadata"]["annotations"] = {CONDITIONS: json.dumps(conditions)}
                await self._api.apply(SOURCE_MAP, item)
            else:
                item["apiVersion"] = f"{copy.kind.group}/{copy.version}"
                item["status"] = {"conditions": conditions}
                await self._api.apply_status(copy.kind, copy.version, item)
        except ApiError as failure:
            if failure.code == NOT_FOUND or (failure.code == CONFLICT and "uid" in item["metadata"]):
                return  # deleted meanwhile
            raise
        await self._event(key, item["apiVersion"], source, findings, before)

    async def clear(self, key: Key, copy: Informer, source: Object) -> None:
        """Take the conditions of a source that has opted out back; raises ``ApiError``."""
        shown = {each.get("type") for each in _before(key, source)}
        if key.kind == SOURCE_MAP.name or not shown >= {ACCEPTED, RESOLVED, PROGRAMMED}:
            return
        item = {
            "apiVersion": f"{copy.kind.group}/{copy.version}",
            "kind": key.kind,
            "metadata": {"name": key.name, "namespace": key.namespace},
            "status": {},
        }
        await self._api.apply_status(copy.kind, copy.version, item)

    async def _event(
        self, key: Key, version: str, source: Object, findings: list[Finding], before: list[Object]
    ) -> None:
        known = {each.get("type"): (each.get("reason"), each.get("message")) for each in before}
        turned = [
            each
            for each in findings
            if each.type in (ACCEPTED, PROGRAMMED) and known.get(each.type) != (each.reason, each.message)
        ]
        if not turned:
            return
        worst = next((each for each in turned if not each.is_true), turned[-1])
        now = dt.datetime.now(dt.UTC)
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": EVENT.name,
            "metadata": {"name": f"{key.name[:200]}.{now.timestamp():.6f}", "namespace": key.namespace},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": "Normal" if worst.is_true else "Warning",
            "reason": worst.reason,
            "action": "Reconcile",
            "note": worst.message[:_LONGEST_NOTE] or worst.reason,
            "reportingController": MANAGER,
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": version,
                "kind": key.kind,
                "name": key.name,
                "namespace": key.namespace,
                "uid": metadata(source).get("uid"),
            },
        }
        try:
            await self._api.create(EVENT, event)
        except ApiError as failure:
            _log.warning("event_not_written", source=str(key), reason=str(failure)[:300])


def _before(key: Key, source: Object) -> list[Object]:
    """Return the conditions that a source shows."""
    if key.kind == SOURCE_MAP.name:
        try:
            found = json.loads(annotations(source).get(CONDITIONS, "[]"))
        except (ValueError, RecursionError):  # anybody may have written it
            return []
    else:
        status = source.get("status")
        found = status.get("conditions") if isinstance(status, dict) else None
    found = found if isinstance(found, list) else []
    return [each for each in found if isinstance(each, dict) and isinstance(each.get("type"), str)]
