"""The engines that drive streams: gRPC's completion queue, or grpc.aio. Both give the same answers.

The completion queue answers requests of known sessions in the thread that took their message, without a
coroutine or a second thread. It uses private parts of grpcio. These are checked before use, and ``auto``
falls back to grpc.aio.
"""

from collections.abc import Callable

import structlog

from extproc.grpc_server.aio_engine import AioEngine
from extproc.grpc_server.completion_queue import internals
from extproc.grpc_server.completion_queue.engine import CompletionQueueEngine
from extproc.grpc_server.engine_choice import EngineName
from extproc.grpc_server.transport import Transport
from extproc.request.pipeline import Pipeline

_log = structlog.get_logger(__name__)


Engine = CompletionQueueEngine | AioEngine
"""A gRPC server of the external processor, health and reflection. Belongs to one event loop."""


class NoSuchEngineError(RuntimeError):
    """The engine that was asked for does not run with this grpcio."""


def build(name: EngineName, *, transport: Transport, pipeline: Callable[[], Pipeline]) -> Engine:
    """Return the engine of that name, bound to its addresses.

    Raises:
        NoSuchEngineError: ``completion_queue`` was asked for and does not run here.
        OSError: cannot listen at an address.
    """
    if name != "aio":
        missing = internals.missing()
        if missing is None:
            return CompletionQueueEngine(transport=transport, pipeline=pipeline)
        if name == "completion_queue":
            raise NoSuchEngineError(f"listen.engine: completion_queue: {missing}")
        _log.warning("engine_fallback", engine="aio", slower_because=missing)
    return AioEngine(transport=transport, pipeline=pipeline)
