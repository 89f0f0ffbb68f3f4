"""Servers that only a benchmark runs: ``python -m bench.servers noop|uncached ...``.

``noop`` is our transport without our work: it looks at no message, says "continue" to the head and
to the body. ``uncached`` is the whole product, but every request verifies, decides and exchanges anew.
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from extproc import config
from extproc.app.lifecycle import App
from extproc.pipeline import Admission, Pipeline
from extproc.policy.inputs import Inputs
from extproc.server import codec, grpc_server
from extproc.server.stream import Answer
from extproc.values import Authorized, Grant

_HEAD = Answer(codec.encode_continue(()), last=False)
_BODY = Answer(codec.encode_body_continue(), last=True)
_MAX_BODY = 16 * 1024 * 1024


class NoOpStream:
    """Stands where ``Stream`` does and does nothing. Every request must have a body."""

    __slots__ = ("_seen_head",)

    def __init__(self, _pipeline: object, *, target_name: str | None) -> None:
        self._seen_head = False

    def receive(self, _message: bytes) -> Answer:
        """Continue; at the second message, for the last time."""
        if self._seen_head:
            return _BODY
        self._seen_head = True
        return _HEAD


class Uncached(Pipeline):
    """Knows nobody: an exchange for each request, which shares it with no other."""

    def authorize(self, admission: Admission, inputs: Inputs) -> asyncio.Future[Authorized]:
        """Verify, decide and exchange, whatever was before."""
        return asyncio.ensure_future(self._anew(admission, inputs))

    async def _anew(self, admission: Admission, inputs: Inputs) -> Authorized:
        session = await self._open(admission)
        grant = self._policy.decide(session.identity, inputs).outcome
        if not isinstance(grant, Grant):
            raise grant
        exchange: Any = self._credentials._exchange
        return Authorized(session, grant, await exchange.exchange(session.unverified_for_sts, grant))


async def serve_noop(address: str) -> None:
    """Serve until SIGTERM."""
    grpc_server.Stream = NoOpStream
    server = grpc_server.GrpcServer(addresses=[address], pipeline=lambda: None, max_body_bytes=_MAX_BODY)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await server.start()
    await server.set_serving(serving=True)
    await stopped.wait()
    await server.stop(grace=0)


async def serve_uncached(settings: config.Settings) -> None:
    """Serve until SIGTERM."""
    app = App(settings)
    app._pipeline.__class__ = Uncached
    await app.run()


def main() -> None:
    """Run one of the servers."""
    kind, argument = sys.argv[1:3]
    if kind == "noop":
        asyncio.run(serve_noop(argument))
    else:
        asyncio.run(serve_uncached(config.load(Path(argument))))


if __name__ == "__main__":
    main()
