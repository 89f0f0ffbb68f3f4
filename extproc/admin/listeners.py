"""Starts what operators reach: metrics and probes over HTTP, the admin API over gRPC."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from prometheus_client import CollectorRegistry

from extproc.grpc_server.transport import Transport


@contextlib.asynccontextmanager
async def serving(
    servicer: Callable[[], object],
    *,
    http: str | None,
    grpc: Transport | None,
    registry: CollectorRegistry,
    unready: Callable[[], list[str]],
    degraded: Callable[[], list[str]],
) -> AsyncIterator[None]:
    """Serve at ``http`` (HOST:PORT, ``listen.admin``) and over ``grpc`` (``listen.admin_grpc``), if given.

    ``servicer``: returns what answers the admin API's methods, if there is ``grpc``.

    Raises:
        OSError: an address cannot be listened at.
    """
    async with contextlib.AsyncExitStack() as cleanup:
        if http is not None:
            from extproc.admin.http import AdminServer  # noqa: PLC0415 - slow to import, and workers do without

            server = AdminServer(http, registry=registry, unready=unready, degraded=degraded)
            server.start()
            cleanup.push_async_callback(asyncio.to_thread, server.stop)
        if grpc is not None:
            from extproc.admin.server import AdminGrpcServer  # noqa: PLC0415 - most servers do without

            await cleanup.enter_async_context(AdminGrpcServer(servicer(), transport=grpc))
        yield
