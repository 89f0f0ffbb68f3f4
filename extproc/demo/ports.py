"""Loopback ports for processes that are about to start."""

import atexit
import contextlib
import random
import socket
import sys
from typing import Final

# Below the ports that Linux (from 32768) and others (from 49152) use for outgoing connections and port 0:
# the system does not take such a port between its choice and the start of the server.
_CHOSEN_FROM: Final = range(20_000, 32_768)

_reserved: Final = contextlib.ExitStack()
atexit.register(_reserved.close)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on, and that no other call returns while this process lives.

    Processes that run side by side, such as parallel test runs, get different ports too (on Linux).

    Raises:
        OSError: not enough ports are free.
    """
    found: list[int] = []
    for port in random.sample(_CHOSEN_FROM, len(_CHOSEN_FROM)):
        if len(found) == count:
            return found
        if _reserve(port):
            found.append(port)
    raise OSError(f"no {count} ports are free between {_CHOSEN_FROM.start} and {_CHOSEN_FROM.stop}")


def _reserve(port: int) -> bool:
    with contextlib.ExitStack() as undo:
        if sys.platform == "linux":
            # An abstract socket name: the kernel frees it when this process ends, even by a crash.
            name = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            try:
                name.bind(f"\0extproc port {port}")
            except OSError:
                return False
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
        _reserved.push(undo.pop_all())
    return True


def is_taken(address: str) -> bool:
    """Return whether a process listens at ``HOST:PORT`` of this machine."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        # As servers do it, so that a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return True
    return False
