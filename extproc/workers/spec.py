"""A supervisor's assignment to a worker: a number, addresses, and channels to the supervisor."""

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class ListenSlice:
    """One worker's part of ``listen.grpc``.

    Attributes:
        shares_port: whether other workers listen at the same port.
    """

    addresses: tuple[str, ...]
    shares_port: bool = False


def split(addresses: list[str], workers: int) -> list[ListenSlice]:
    """Return each worker's part: one address each, or one TCP port for all, or all addresses for one.

    Raises:
        ValueError: the addresses cannot be split among so many workers.
    """
    if workers == 1:
        return [ListenSlice(tuple(addresses))]
    if len(addresses) == workers:
        return [ListenSlice((address,)) for address in addresses]
    if len(addresses) > 1:
        raise ValueError(
            f"{len(addresses)} addresses for {workers} workers: list one for each worker, "
            "or a single HOST:PORT for all of them"
        )
    if addresses[0].startswith("unix:"):
        raise ValueError(f"{workers} workers cannot share a Unix socket: list one for each worker")
    if addresses[0].endswith(":0"):
        raise ValueError("workers cannot share port 0, which is a different one for each: name a port")
    return [ListenSlice((addresses[0],), shares_port=True)] * workers


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker of a supervisor.

    Attributes:
        number: from 1.
        control: the path of the Unix socket on which it serves the admin API to its supervisor.
        lifeline: the descriptor of the pipe from the supervisor; see ``workers.lifeline``.
        workers: how many workers there are.
    """

    number: int
    listen: ListenSlice
    control: str
    lifeline: int
    workers: int = 1

    def to_json(self) -> str:
        """Return an argument for the worker's command line. Nothing in it is secret."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, **changes: int) -> Self:
        """Parse what ``to_json`` returned; ``changes`` are other values of its numbers."""
        fields = json.loads(text) | changes
        listen = fields.pop("listen")
        return cls(listen=ListenSlice(tuple(listen["addresses"]), listen["shares_port"]), **fields)
