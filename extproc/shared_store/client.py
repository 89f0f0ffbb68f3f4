"""The client of Valkey or Redis: one server, Sentinel or a cluster, with TLS and an ACL user.

The only module that imports valkey-py, which is an extra.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from valkey.asyncio import Valkey
from valkey.asyncio.cluster import ClusterNode, ValkeyCluster
from valkey.asyncio.retry import Retry
from valkey.asyncio.sentinel import Sentinel
from valkey.backoff import NoBackoff
from valkey.exceptions import ClusterDownError, ReadOnlyError, ResponseError

from extproc.shared_store.calls import CallError, Reply

_PORT = 6379
_OTHERS = 4  # connections: for messages, and for calls that were given up a moment ago


@dataclass(frozen=True, slots=True)
class Address:
    """Where the store is, and how it is reached.

    Attributes:
        url: of the server, of a Sentinel, or of a node of the cluster.
        nodes: ``HOST:PORT`` of further Sentinels or nodes.
        sentinel: the service's name at the Sentinels; None without them.
        connections: the most that are open at one time; of a cluster, to each node.
    """

    url: str
    nodes: tuple[str, ...] = ()
    sentinel: str | None = None
    cluster: bool = False
    username: str | None = None
    password_file: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    certificate: str | None = None
    private_key: str | None = None
    connections: int = 8


class ValkeyClient:
    """Calls commands and scripts. Belongs to one event loop. Sets no limit on time.

    Connections are made when they are needed, and a call that is cancelled closes its connection: a reply can
    never be taken for that of another call.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Any = None
        self._build: Callable[[], Any] = {
            (False, False): self._server,
            (True, False): self._sentinel,
            (False, True): self._cluster,
        }[address.sentinel is not None, address.cluster]

    async def call(self, *command: str | bytes | float) -> Reply:
        """Return the reply to a command.

        Raises:
            CallError: no connection, or an error as the reply.
        """
        try:
            if self._client is None:
                self._client = self._build()
            return await self._client.execute_command(*command)
        except ReadOnlyError as error:
            # A failover has made this server a replica: the address may lead to the new primary by now.
            await self.close()
            raise CallError(_kind(error), answered=False) from None
        except ClusterDownError as error:
            raise CallError(_kind(error), answered=False) from None
        except ResponseError as error:
            raise CallError(_kind(error), answered=True) from None
        except Exception as error:  # noqa: BLE001 - whatever the library raises: no request fails for the store
            raise CallError(_kind(error), answered=False) from None

    async def evaluate(self, script: str, keys: list[str], *arguments: str | bytes | float) -> Reply:
        """Return what a script returns; in a cluster all keys have one hash tag. Raises as ``call``."""
        return await self.call("EVAL", script, len(keys), *keys, *arguments)

    async def messages(self, channel: str) -> AsyncIterator[bytes]:
        """Yield the messages of a channel, on a connection of its own.

        In a cluster there are none: its client has no subscriptions.

        Raises:
            CallError: no connection, or it was lost.
        """
        if self._address.cluster:
            await asyncio.Event().wait()
        try:
            if self._client is None:
                self._client = self._build()
            async with self._client.pubsub(ignore_subscribe_messages=True) as subscriber:
                await subscriber.subscribe(channel)
                async for message in subscriber.listen():
                    yield message["data"]
        except Exception as error:  # noqa: BLE001 - as above
            raise CallError(_kind(error), answered=False) from None

    async def close(self) -> None:
        """Close all connections; the next call makes new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _server(self) -> Any:
        parts = urlsplit(self._address.url)
        if parts.scheme == "unix":
            return Valkey(unix_socket_path=parts.path, **self._credentials(), **self._pool())
        return Valkey(
            host=parts.hostname or "",
            port=parts.port or _PORT,
            db=self._database,
            **self._credentials(),
            **self._tls(),
            **self._pool(),
        )

    def _sentinel(self) -> Any:
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            self._nodes(), sentinel_kwargs={**self._tls(), **self._retry()}, **self._tls(), **self._retry()
        )
        assert self._address.sentinel is not None  # noqa: S101 - chosen by it
        return sentinel.master_for(
            self._address.sentinel,
            db=self._database,
            max_connections=self._address.connections + _OTHERS,
            **self._credentials(),
        )

    def _cluster(self) -> Any:
        return ValkeyCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in self._nodes()],
            cluster_error_retry_attempts=1,
            require_full_coverage=False,
            max_connections=self._address.connections,
            **self._credentials(),
            **self._tls(),
        )

    def _nodes(self) -> list[tuple[str, int]]:
        parts = urlsplit(self._address.url)
        first = parts.hostname or "", parts.port or _PORT
        others = (urlsplit(f"//{node}") for node in self._address.nodes)
        return [first, *((node.hostname or "", node.port or _PORT) for node in others)]

    @property
    def _database(self) -> int:
        return int(urlsplit(self._address.url).path.strip("/") or 0)

    def _pool(self) -> dict[str, Any]:
        return {"max_connections": self._address.connections + _OTHERS, **self._retry()}

    def _retry(self) -> dict[str, Any]:
        # None: whoever calls has little time, and a circuit breaker.
        return {"retry": Retry(NoBackoff(), 0)}

    def _credentials(self) -> dict[str, Any]:
        """Return user and password. The file is read for each new client, so that it can be replaced."""
        if self._address.password_file is None:
            return {}
        password = Path(self._address.password_file).read_text(encoding="utf-8").strip()
        return {"username": self._address.username, "password": password}

    def _tls(self) -> dict[str, Any]:
        if urlsplit(self._address.url).scheme not in ("valkeys", "rediss"):
            return {}
        return {
            "ssl": True,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
            "ssl_ca_certs": self._address.ca_file,
            "ssl_certfile": self._address.certificate,
            "ssl_keyfile": self._address.private_key,
        }


def _kind(error: Exception) -> str:
    """Return the kind of an error alone: its message may quote what was sent."""
    cause = error.args[0] if error.args else None  # of a failure while a connection was being made
    return type(cause if isinstance(cause, Exception) else error).__name__
