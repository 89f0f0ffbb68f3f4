"""Which engine, and what must be set before anything imports gRPC."""

import os
from typing import Literal

EngineName = Literal["auto", "completion_queue", "aio"]

_EXPERIMENTS = "GRPC_EXPERIMENTS"
_POLLING_THREAD_DOES_IO = "-event_engine_listener"


def prepare(name: EngineName) -> None:
    """Set what gRPC reads when it is imported first; what the environment says already stays.

    Without gRPC's own listener threads the thread that takes an event has done its socket
    work too. That is for the completion queue only: grpc.aio is slower with it.
    """
    if name != "aio":
        os.environ.setdefault(_EXPERIMENTS, _POLLING_THREAD_DOES_IO)
