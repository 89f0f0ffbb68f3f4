"""What each worker is told: its number, where it listens, and how it hears of its supervisor."""

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class ListenSlice:
    """One worker's part of ``listen.grpc``. ``shares_port``: the others listen there too."""

    addresses: tuple[str, ...]
    shares_port: bool = False


def share_out(addresses: list[str], workers: int) -> list[ListenSlice]:
    """Who listens where: one address each, or all on one TCP port, or one process on all.

    Raises:
        ValueError: the addresses do not go round.
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
        raise ValueError("workers cannot share port 0, which is another one for each: name a port")
    return [ListenSlice((addresses[0],), shares_port=True)] * workers


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """A worker's place. ``number``: from 1.

    ``of``: how many workers there are.
    ``control``: the ``unix:`` address at which it serves the admin API to its supervisor.
    ``lifeline``: the descriptor of the pipe on which the supervisor says "serve", and whose end
    is the supervisor's end.
    """

    number: int
    share: ListenSlice
    control: str
    lifeline: int
    of: int = 1

    def to_json(self) -> str:
        """As an argument of the worker's command line. Nothing in it is secret."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        fields = json.loads(text)
        share = fields.pop("share")
        return cls(share=ListenSlice(tuple(share["addresses"]), share["shares_port"]), **fields)
