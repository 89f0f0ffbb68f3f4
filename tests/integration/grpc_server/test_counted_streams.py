"""Both engines keep streams that are counted, and whatever ends these gives their slots back."""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest

from extproc.fairness.stream_slots import SlotLimit, StreamSlots
from extproc.grpc_server import engine
from extproc.grpc_server.service_names import EXT_PROC_SERVICE
from extproc.grpc_server.transport import Limits, Transport
from support.envoy_messages import Seen, headers_message, response_trailers_message
from support.pipelines import Parts

GET = headers_message(method="GET", end_of_stream=True)


class Gateway:
    """A server with slots, and the channel to it."""

    def __init__(self, limit):
        self.slots = StreamSlots({"aws-mcp": limit})
        self.parts = Parts(slots=self.slots)

    async def call(self):
        call = self.channel.stream_stream(f"/{EXT_PROC_SERVICE}/Process")()
        await call.write(GET)
        return call

    async def signed(self):
        call = await self.call()
        assert Seen(await call.read()).is_signed
        return call

    async def until(self, *, held=0, waiting=0):
        async with asyncio.timeout(10):
            while self.counts() != (held, waiting):  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.005)

    def counts(self):
        seen = self.slots.counts()["aws-mcp"]
        return seen.open, seen.waiting


@pytest.fixture(params=["completion_queue", "aio"])
def gateway(request):
    @contextlib.asynccontextmanager
    async def start(limit):
        made = Gateway(limit)
        transport = Transport(addresses=["127.0.0.1:0"], limits=Limits(message_bytes=9 * 2**20))
        made.server = engine.build(request.param, transport=transport, pipeline=lambda: made.parts.pipeline)
        await made.server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{made.server.ports[0]}") as made.channel:
                yield made
        finally:
            await made.server.stop(grace=0)

    return start


@pytest.mark.parametrize("how", ["cancel", "half-close"])
async def test_a_stream_is_kept_until_the_client_ends_it(gateway, how):
    async with gateway(SlotLimit(2, 2, 2, 30.0)) as at:
        for _ in range(3):  # with a session to be opened, and without
            call = await at.signed()
            await at.until(held=1)
            if how == "cancel":
                call.cancel()
            else:
                await call.done_writing()
                await call.code()
            await at.until(held=0)


async def test_trailers_are_answered_and_the_stream_is_still_kept(gateway):
    async with gateway(SlotLimit(2, 2, 2, 30.0)) as at:
        call = await at.signed()
        await call.write(response_trailers_message())
        assert Seen(await call.read()).response.response_trailers is not None
        await at.until(held=1)
        await call.done_writing()
        await at.until(held=0)


async def test_a_connection_that_is_lost_gives_everything_back(gateway):
    async with gateway(SlotLimit(2, 2, 5, 30.0)) as at:
        calls = [await at.signed(), await at.signed(), await at.call(), await at.call()]
        await at.until(held=2, waiting=2)
        await at.channel.close()
        await at.until()
        assert len(calls) == 4


@pytest.mark.parametrize("how", ["cancel", "half-close"])
async def test_a_stream_that_waits_may_leave(gateway, how):
    async with gateway(SlotLimit(1, 1, 5, 30.0)) as at:
        first, second = await at.signed(), await at.call()
        await at.until(held=1, waiting=1)
        if how == "cancel":
            second.cancel()
            await at.until(held=1)
            first.cancel()
        else:
            await second.done_writing()
            first.cancel()
            assert Seen(await second.read()).is_signed
        await at.until()


async def test_a_stream_that_waits_is_signed_when_another_ends(gateway):
    async with gateway(SlotLimit(1, 1, 5, 30.0)) as at:
        first, second = await at.signed(), await at.call()
        await at.until(held=1, waiting=1)
        first.cancel()
        assert Seen(await second.read()).is_signed
        await at.until(held=1)


async def test_a_server_that_stops_ends_kept_streams_cleanly(gateway):
    async with gateway(SlotLimit(9, 9, 9, 30.0)) as at:
        calls = [await at.signed() for _ in range(5)]
        await at.until(held=5)
        async with asyncio.timeout(10):
            await at.server.stop(grace=30)
        for call in calls:
            assert await call.read() is grpc.aio.EOF
            assert await call.code() == grpc.StatusCode.OK
        assert at.counts() == (0, 0)


async def test_any_mixture_of_ends_leaves_nothing_behind(gateway):
    async with gateway(SlotLimit(3, 3, 40, 30.0)) as at:
        await (await at.signed()).done_writing()
        for round_ in range(30):
            calls = [await at.call() for _ in range(6)]
            await asyncio.sleep(0.001 * (round_ % 7))
            for number, call in enumerate(calls):
                if (number + round_) % 3:
                    call.cancel()
                else:
                    await call.done_writing()
        await at.until()
        assert Seen(await (await at.call()).read()).is_signed
