"""The names of the engines, and the environment to set before gRPC is imported."""

import os
from typing import Literal

EngineName = Literal["auto", "completion_queue", "aio"]

_EXPERIMENTS = "GRPC_EXPERIMENTS"
_POLLING_THREAD_DOES_IO = "-event_engine_listener"


def prepare(name: EngineName) -> None:
    """Set the variables that gRPC reads on import, unless the environment sets them.

    Without gRPC's own listener threads, the polling thread does the socket work as well. This is for the
    completion queue only: grpc.aio is slower with it.
    """
    if name != "aio":
        os.environ.setdefault(_EXPERIMENTS, _POLLING_THREAD_DOES_IO)
