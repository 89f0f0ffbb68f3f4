"""Servers that only a benchmark runs: ``python -m bench.servers noop ENGINE ADDRESS|uncached ENGINE CONFIG``.

``noop`` is our transport without our work: it looks at no message, says "continue" to the head and
to the body. ``uncached`` is the whole product, but every request verifies, decides and exchanges anew.
"""

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Any

from extproc.grpc_server import engine_choice

KIND, ENGINE, ARGUMENT = sys.argv[1:]
engine_choice.prepare(ENGINE)  # before anything imports gRPC

from extproc import config
from extproc.app.lifecycle import App
from extproc.ext_proc import encoding
from extproc.grpc_server import aio_engine, engine
from extproc.grpc_server.completion_queue import engine as queue_engine
from extproc.grpc_server.transport import Limits, Transport
from extproc.policy.inputs import Inputs
from extproc.request.admission import Admission
from extproc.request.answers import Answer
from extproc.request.authorization import Authorization
from extproc.sessions.session import Authorized, Granted, LiveCredentials
from extproc.telemetry.record import RequestRecord
from extproc.values import Grant

_HEAD = Answer(encoding.encode_continue(()), last=False)
_BODY = Answer(encoding.encode_body_continue(), last=True)
_MAX_MESSAGE = 16 * 1024 * 1024


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

    def close(self) -> None:
        """Nothing is held."""


class Uncached(Authorization):
    """Knows no one: an exchange for each request, which shares it with no other."""

    def lookup(self, _admission: Admission, _inputs: Inputs, _record: RequestRecord) -> None:
        """Return nothing."""

    async def obtain(self, admission: Admission, inputs: Inputs, record: RequestRecord) -> Authorized:
        """Verify, decide and exchange, whatever was before."""
        session = await self._open(admission, record)
        grant = self._decisions._policy.decide(session.identity, inputs).outcome
        if not isinstance(grant, Grant):
            raise grant
        exchange: Any = self._credentials._exchange
        credentials = await exchange.exchange(session.owner, session.unverified_web_identity_token, grant)
        now = time.time()
        return Authorized(session, Granted(grant), LiveCredentials(credentials, now, now, now + 60))


async def serve_noop(address: str) -> None:
    """Serve until SIGTERM."""
    aio_engine.Stream = queue_engine.Stream = NoOpStream
    transport = Transport(addresses=[address], limits=Limits(message_bytes=_MAX_MESSAGE))
    server = engine.build(ENGINE, transport=transport, pipeline=lambda: None)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await server.start()
    await server.set_serving(serving=True)
    await stopped.wait()
    await server.stop(grace=0)


async def serve_uncached(settings: config.Settings) -> None:
    """Serve until SIGTERM. The few users of a benchmark may have all exchanges under way."""
    sts = settings.sts.model_copy(update={"max_waiting_per_subject": settings.sts.max_waiting})
    app = App(settings.model_copy(update={"sts": sts}))
    app._reloader.current.pipeline.authorization.__class__ = Uncached
    await app.run()


if __name__ == "__main__":
    asyncio.run(serve_noop(ARGUMENT) if KIND == "noop" else serve_uncached(config.load(Path(ARGUMENT))))
