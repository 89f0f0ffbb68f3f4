"""The names of the engines, and the environment to set before gRPC is imported."""

import os
from typing import Literal

EngineName = Literal["auto", "completion_queue", "aio"]

_EXPERIMENTS = "GRPC_EXPERIMENTS"
_POLLING_THREAD_DOES_IO = "-event_engine_listener"
_FILTERS_IN_ONE_CALL = "fuse_filters"


def prepare(name: EngineName) -> None:
    """Set the variables that gRPC reads on import, unless the environment sets them.

    Without gRPC's own listener threads, the polling thread does the socket work as well. And gRPC passes each
    operation through its filters (limits, compression, clients' certificates) in one call, not one after the
    other. This is for the completion queue only: grpc.aio is slower with the first.
    """
    if name != "aio":
        os.environ.setdefault(_EXPERIMENTS, f"{_POLLING_THREAD_DOES_IO},{_FILTERS_IN_ONE_CALL}")
