"""The API of Kubernetes, by lightkube: the only place that knows it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import httpx2
from lightkube import AsyncClient
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ApiError as _LightkubeError
from lightkube.core.exceptions import ConfigError as KubeconfigError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import PatchType

from extproc.controller.kinds import MANAGER, Kind, Object, metadata, name_of

NOT_FOUND, FORBIDDEN, CONFLICT, GONE = 404, 403, 409, 410
FIRST_REFUSAL, LAST_REFUSAL, TOO_MANY = 400, 499, 429
WATCH_SECONDS = 240  # the API server ends a watch then, and the next one begins where it ended


class ApiError(Exception):
    """A call that failed. ``code``: the HTTP status, 0 without an answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Api(Protocol):
    """What the controller does with the API. Each method raises ``ApiError``."""

    async def list(self, kind: Kind, version: str, namespace: str) -> tuple[list[Object], str]:
        """Return the objects of a namespace, and the version of the list."""

    def watch(
        self, kind: Kind, version: str, namespace: str, since: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield changes after a version of the list: ADDED, MODIFIED or DELETED, and the object."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Return an object."""

    async def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object whatever its labels, by the right to list; None if it is not there."""

    async def apply(self, kind: Kind, item: Object, *, force: bool = True) -> Object:
        """Create or change an object by server-side apply, with a ``uid`` only change; return it."""

    async def apply_status(self, kind: Kind, version: str, item: Object) -> None:
        """Change fields of an object's status that nobody else owns."""

    async def create(self, kind: Kind, item: Object) -> Object:
        """Create an object."""

    async def replace(self, kind: Kind, item: Object) -> Object:
        """Replace an object, unless it has changed since it was read."""

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object; nothing if it has gone."""


class KubernetesApi:
    """The API of the cluster that a kubeconfig or the pod's service account leads to."""

    def __init__(self, kubeconfig: str | None = None) -> None:
        try:
            config = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
            self._client = AsyncClient(config=config, field_manager=MANAGER)
        except (KubeconfigError, OSError) as error:
            raise ApiError(0, f"no cluster: {error}") from None
        self._classes: dict[tuple[str, str, bool], Any] = {}

    def _class(self, kind: Kind, version: str = "", *, status: bool = False) -> Any:
        version = version or kind.versions[0]
        key = (kind.name, version, status)
        if key not in self._classes:
            found = create_namespaced_resource(kind.group, version, kind.name, kind.plural)
            self._classes[kind.name, version, False] = found
            self._classes[kind.name, version, True] = found.Status
        return self._classes[key]

    async def list(self, kind: Kind, version: str, namespace: str) -> tuple[list[Object], str]:
        """Return the objects of a namespace, and the version of the list."""
        try:
            found = self._client.list(
                self._class(kind, version),
                namespace=namespace,
                labels=dict(kind.labels) or None,
                chunk_size=500,
            )
            items = [dict(item) async for item in found]
        except Exception as error:  # noqa: BLE001 - see _failure
            raise _failure(error) from None
        return items, found.resourceVersion

    async def watch(
        self, kind: Kind, version: str, namespace: str, since: str
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield changes after a version of the list: ADDED, MODIFIED or DELETED, and the object."""
        changes = self._client.watch(
            self._class(kind, version),
            namespace=namespace,
            labels=dict(kind.labels) or None,
            server_timeout=WATCH_SECONDS,
            resource_version=since,
        )
        iterator = aiter(changes)
        try:
            while True:
                # A connection that died without a word would be waited for as long as the process lives.
                async with asyncio.timeout(2 * WATCH_SECONDS):
                    change, item = await anext(iterator)
                yield change, dict(item)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ApiError(0, "the watch was silent") from None
        except Exception as error:  # noqa: BLE001
            raise _failure(error) from None

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Return an object."""
        return await self._call(self._client.get(self._class(kind), name, namespace=namespace))

    async def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object whatever its labels, by the right to list; None if it is not there."""
        try:
            found = self._client.list(self._class(kind), namespace=namespace, fields={"metadata.name": name})
            return next(iter([dict(item) async for item in found]), None)
        except Exception as error:  # noqa: BLE001 - see _failure
            raise _failure(error) from None

    async def apply(self, kind: Kind, item: Object, *, force: bool = True) -> Object:
        """Create or change an object by server-side apply, with a ``uid`` only change; return it."""
        namespace, name = metadata(item).get("namespace"), name_of(item)
        return await self._call(
            self._client.patch(
                self._class(kind), name, item, namespace=namespace, patch_type=PatchType.APPLY, force=force
            )
        )

    async def apply_status(self, kind: Kind, version: str, item: Object) -> None:
        """Change fields of an object's status that nobody else owns."""
        namespace, name = metadata(item).get("namespace"), name_of(item)
        resource = self._class(kind, version, status=True)
        await self._call(
            self._client.patch(resource, name, item, namespace=namespace, patch_type=PatchType.APPLY)
        )

    async def create(self, kind: Kind, item: Object) -> Object:
        """Create an object."""
        return await self._call(self._client.create(self._class(kind)(item)))

    async def replace(self, kind: Kind, item: Object) -> Object:
        """Replace an object, unless it has changed since it was read."""
        return await self._call(self._client.replace(self._class(kind)(item)))

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object; nothing if it has gone."""
        try:
            await self._client.delete(self._class(kind), name, namespace=namespace)
        except Exception as error:  # noqa: BLE001
            failure = _failure(error)
            if failure.code != NOT_FOUND:
                raise failure from None

    async def _call(self, call: Any) -> Object:
        try:
            return dict(await call)
        except Exception as error:  # noqa: BLE001
            raise _failure(error) from None


def _failure(error: Exception) -> ApiError:
    """Return the failure of a call, whatever lightkube raises for half a line or an odd answer."""
    if isinstance(error, _LightkubeError):
        return ApiError(int(error.status.code or 0), str(error.status.message))
    if isinstance(error, httpx2.HTTPStatusError):
        return ApiError(error.response.status_code, f"status {error.response.status_code}")
    return ApiError(0, type(error).__name__)  # a message may have an address, never needed here
