"""Makes the cluster have what one source says.

1. A source that is gone, or has not opted in, has nothing: what was written is deleted, the route first.
2. One that refers to what is not there, or is not valid, keeps what it has. That goes only if the
   ``MCPExternalAuthConfig`` in it has been deleted: deleting it takes access away.
3. A valid one gets its configuration, and if it names a Gateway, the Gateway's resources.
4. Envoy Gateway may see changes of two kinds in any order, and a route without the policy leaks tokens. So
   the route is written once Envoy Gateway has accepted the policy, withdrawn when it refuses the policy, and
   gone for a while before the policy goes.

A namespace is one tenant with one Gateway: the oldest source that names one has it.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

import structlog

from extproc.config import ConfigError, Settings
from extproc.controller import acceptance, bundles, conditions, desired
from extproc.controller.api import CONFLICT, FIRST_REFUSAL, LAST_REFUSAL, TOO_MANY, Api, ApiError
from extproc.controller.conditions import NOT_WRITTEN, Finding
from extproc.controller.informer import Informer
from extproc.controller.kinds import (
    AUTH_CONFIG,
    EXTENSION_POLICY,
    GATEWAY,
    MANAGER,
    RENDERED_FROM,
    ROUTE,
    SOURCE,
    SOURCES,
    WRITTEN,
    WRITTEN_MAP,
    Key,
    Kind,
    Object,
    annotations,
    metadata,
    name_of,
    version_of,
)
from extproc.controller.reports import Reports
from extproc.envoy_gateway.admission import REMOVABLE
from extproc.envoy_gateway.options import GatewayOptions, NameRefusedError
from extproc.envoy_gateway.resources import POLICY_NAME

_log = structlog.get_logger(__name__)

Copies = dict[str, Informer]
"""The informers of a namespace by kind; those of written objects by ``written_as``."""
_Valid = tuple[dict[str, Any], Settings, list[str]]
_Failure = tuple[str, str]
_Wanted = list[tuple[Kind, Object]]
SETTLED = 3.0  # seconds, until Envoy Gateway has seen that a route has gone


def written_as(kind: Kind) -> str:
    """Return the key of written objects of a kind among the copies."""
    return f"written:{kind.name}"


class Reconciler:
    """Works on one source at a time.

    Args:
        copies: by namespace.
        base: sections of the configuration that are the operator's, like ``listen``.
        service: extproc's Service, for the Gateway's resources.
    """

    def __init__(
        self, api: Api, copies: dict[str, Copies], reports: Reports, *, base: dict[str, Any], service: str
    ) -> None:
        self._api, self._copies, self._reports = api, copies, reports
        self._base, self._service = base, service
        self._remembered: dict[Key, tuple[str, _Valid | list[str]]] = {}
        self._applied: dict[tuple[str, str, str], tuple[str, str]] = {}

    async def reconcile(self, key: Key) -> None:
        """Bring a source's objects up to date; raises ``ApiError``."""
        copies = self._copies[key.namespace]
        source = copies[key.kind].items.get(key.name)
        is_going = source is not None and metadata(source).get("deletionTimestamp")
        if source is None or is_going or not bundles.opted_in(key.kind, source):
            self._remembered.pop(key, None)
            await self._prune(key)
            if source is not None and not is_going:
                await self._reports.clear(key, copies[key.kind], source)
            return
        items = {kind: copy.items for kind, copy in copies.items()}
        found = bundles.bundle(key.kind, source, items)
        findings = await self._bring(key, source, found)
        await self._reports.write(key, copies[key.kind], source, findings)
        if any(each.reason == NOT_WRITTEN for each in findings):
            raise ApiError(0, "not written: tried again, as permissions and kinds may come later")

    async def _bring(self, key: Key, source: Object, found: bundles.Bundle) -> list[Finding]:
        copies = self._copies[key.namespace]
        kept = copies[written_as(WRITTEN_MAP)].items.get(desired.config_map_name(key))
        if found.missing is not None:
            used = annotations(kept or {}).get(RENDERED_FROM)
            if used is not None and used not in copies[AUTH_CONFIG.name].items:
                await self._prune(key)
                kept = None
            return conditions.unresolved(found.missing, kept=kept is not None)
        result = await self._validated(key, found)
        if isinstance(result, list):
            return conditions.invalid(result, kept=kept is not None)
        content, settings, warnings = result
        wanted = [desired.configuration(key, content, found.auth_config)]
        failure = None
        gateway = annotations(source).get(GATEWAY)
        if gateway:
            owner = self.gateway_owner(key.namespace)
            try:
                options = GatewayOptions(gateway=gateway, service=self._service, namespace=key.namespace)
                if owner == key:
                    guarded, failure = await self._guarded(
                        key, desired.gateway_resources(key, settings, options), gateway
                    )
                    wanted += guarded
                else:
                    failure = (
                        "Conflict",
                        f"the Gateway of this namespace belongs to {owner}, which is older",
                    )
            except NameRefusedError as error:
                failure = ("Invalid", f"annotation {GATEWAY}: {str(error).partition(': ')[2]}")
        return conditions.valid(warnings, *await self._write(key, wanted, failure))

    async def _guarded(self, key: Key, wanted: _Wanted, gateway: str) -> tuple[_Wanted, _Failure | None]:
        """Return a Gateway's resources, without the route while its policy has no effect; and why."""
        policies = self._copies[key.namespace][written_as(EXTENSION_POLICY)].items
        there = policies.get(POLICY_NAME, {})
        policy = next(item for kind, item in wanted if kind is EXTENSION_POLICY)
        why = acceptance.rival(policies.values(), gateway) or acceptance.refusal(there)
        if there and _targets(there) != _targets(policy):
            # Before the policy leaves the old Gateway the route has to.
            await self._prune(key, kinds=(ROUTE,))
        elif why is None and (acceptance.is_accepted(there) or self._has_route(key)):
            return wanted, None
        name = f"{EXTENSION_POLICY.name} {POLICY_NAME}"
        failure = (
            ("Refused", f"{name}: {why}: without it there is no route")
            if why
            else ("Pending", f"the route follows when Envoy Gateway has accepted {name}")
        )
        return [each for each in wanted if each[0] is not ROUTE], failure

    def _has_route(self, key: Key) -> bool:
        routes = self._copies[key.namespace][written_as(ROUTE)].items
        return any(annotations(item).get(SOURCE) == str(key) for item in routes.values())

    async def _write(
        self, key: Key, wanted: _Wanted, failure: _Failure | None
    ) -> tuple[list[str], _Failure | None]:
        """Apply what is wanted and delete the rest; return what was written, and what failed."""
        for kind, item in wanted:
            foreign = await self._foreign(key, kind, item)
            if foreign:
                return [], ("Conflict", foreign)
            try:
                await self._apply(key, kind, item)
            except ApiError as error:
                if not FIRST_REFUSAL <= error.code <= LAST_REFUSAL or error.code == TOO_MANY:
                    raise  # no answer to this request: users need not read of it
                reason = "Conflict" if error.code == CONFLICT else NOT_WRITTEN
                return [], (reason, f"{kind.name} {name_of(item)}: {error}")
        await self._prune(key, keep={(kind.name, name_of(item)) for kind, item in wanted})
        return [f"{kind.name} {name_of(item)}" for kind, item in wanted], failure

    async def _foreign(self, key: Key, kind: Kind, item: Object) -> str | None:
        """Return why an object must not be taken: another source or someone else has made it."""
        there = self._copies[key.namespace][written_as(kind)].items.get(name_of(item))
        if there is None:  # new, not seen yet, or without the label
            there = await self._api.find(kind, key.namespace, name_of(item))
        if there is not None and not _was_written(there):
            # Server-side apply would take it if its fields do not contradict.
            return f"{kind.name} {name_of(item)} is there already, and not the controller's"
        owner = annotations(there or {}).get(SOURCE, str(key))
        if owner == str(key) or self._source(key.namespace, owner) is None:
            return None
        return f"{kind.name} {name_of(item)} was written for {owner}"

    def _source(self, namespace: str, text: str) -> Object | None:
        kind, _, name = text.partition("/")
        copy = self._copies[namespace].get(kind)
        found = copy.items.get(name) if copy else None
        return found if found is not None and bundles.opted_in(kind, found) else None

    async def _validated(self, key: Key, found: bundles.Bundle) -> _Valid | list[str]:
        """Return settings, or problems; read anew only when something changed."""
        digest = found.digest(self._base)
        known = self._remembered.get(key)
        if known is not None and known[0] == digest:
            return known[1]
        result = await asyncio.to_thread(_validate, key, found, self._base)
        self._remembered[key] = (digest, result)
        return result

    async def _apply(self, key: Key, kind: Kind, item: Object) -> None:
        """Apply an object unless it is there as it was applied last."""
        place = (key.namespace, kind.name, name_of(item))
        digest = hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()
        there = self._copies[key.namespace][written_as(kind)].items.get(name_of(item))
        if there is not None and self._applied.get(place) == (digest, version_of(there)):
            return
        # A field of an object that is new here is not taken from whoever made it.
        stored = await self._api.apply(kind, item, force=there is not None)
        self._applied[place] = (digest, version_of(stored))

    async def _prune(
        self, key: Key, *, keep: AbstractSet[tuple[str, str]] = frozenset(), kinds: tuple[Kind, ...] = WRITTEN
    ) -> None:
        """Delete what was written for a source and is wanted no more, in the order in which that is safe."""
        for kind in kinds:
            for name, item in list(self._copies[key.namespace][written_as(kind)].items.items()):
                if annotations(item).get(SOURCE) != str(key) or (kind.name, name) in keep:
                    continue
                if not _was_written(item):  # a copy that somebody made
                    continue
                if kind is EXTENSION_POLICY:  # its routes are gone by now: the admission policy may let it go
                    await self._allow_deletion(item)
                await self._api.delete(kind, key.namespace, name)
                self._applied.pop((key.namespace, kind.name, name), None)
                _log.info("deleted", source=str(key), kind=kind.name, name=name)
                if kind is ROUTE:
                    await asyncio.sleep(SETTLED)

    async def _allow_deletion(self, item: Object) -> None:
        if REMOVABLE in annotations(item):
            return
        found = {
            "apiVersion": item["apiVersion"],
            "kind": item["kind"],
            "metadata": {
                "name": name_of(item),
                "namespace": metadata(item)["namespace"],
                "uid": metadata(item)["uid"],  # else one that has gone meanwhile would be made anew
                "labels": metadata(item).get("labels") or {},
                "annotations": {SOURCE: annotations(item)[SOURCE], REMOVABLE: "yes"},
            },
            "spec": item["spec"],
        }
        await self._api.apply(EXTENSION_POLICY, found)

    def gateway_owner(self, namespace: str) -> Key | None:
        """Return the oldest source of a namespace that names a Gateway."""
        found = [
            (str(metadata(item).get("creationTimestamp")), Key(namespace, kind.name, name))
            for kind in SOURCES
            for name, item in self._copies[namespace][kind.name].items.items()
            if bundles.opted_in(kind.name, item) and annotations(item).get(GATEWAY)
        ]
        return min(found)[1] if found else None


def _was_written(item: Object) -> bool:
    """Return whether the controller made an object, or has taken part in it."""
    fields = metadata(item).get("managedFields") or []
    return any(each.get("manager") == MANAGER and each.get("operation") == "Apply" for each in fields)


def _targets(policy: Object) -> list[object]:
    return [each.get("name") for each in policy["spec"].get("targetRefs") or []]


def _validate(key: Key, found: bundles.Bundle, base: dict[str, Any]) -> _Valid | list[str]:
    try:
        content = bundles.document(key.kind, found, base)
        return (content, *bundles.settings(content))
    except ConfigError as error:
        return error.problems


def keys_of(kind: Kind, namespace: str, item: Object, copies: Copies, *, add: Callable[[Key], None]) -> None:
    """Add the sources that a change of an object concerns."""
    owner = annotations(item).get(SOURCE)
    if kind in WRITTEN and owner:
        source_kind, _, name = owner.partition("/")
        if source_kind in {each.name for each in SOURCES}:
            add(Key(namespace, source_kind, name))
        for each in SOURCES:  # another one may have waited for the name
            for other in copies[each.name].items:
                if kind is WRITTEN_MAP and desired.config_map_name(
                    Key(namespace, each.name, other)
                ) == name_of(item):
                    add(Key(namespace, each.name, other))
        return
    if kind in SOURCES:
        add(Key(namespace, kind.name, name_of(item)))
    for each in SOURCES:
        for name, source in copies[each.name].items.items():
            concerned = bundles.refers_to(source, kind.name, name_of(item))
            # The next oldest may have the Gateway now, or another policy replaces extproc's.
            of_gateway = kind is EXTENSION_POLICY or (kind in SOURCES and annotations(item).get(GATEWAY))
            if concerned or (of_gateway and annotations(source).get(GATEWAY)):
                add(Key(namespace, each.name, name))
