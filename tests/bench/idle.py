"""Streams that nobody continues: ``python -m bench.idle ADDRESS COUNT TOKEN`` opens them and waits.

Each sends the head of a request that has a body, gets its "continue", and stays. Prints a line when all
are open; ends when its standard input does.
"""

import asyncio
import sys

import grpc
import grpc.aio

from bench.messages import head_message
from extproc.grpc_server.service_names import EXT_PROC_SERVICE

_AT_ONCE = 200
_CHANNELS = 8  # as Envoy's workers would


async def hold(address: str, count: int, token: str) -> None:
    """Open ``count`` streams and hold them."""
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(_CHANNELS)
    ]
    gate = asyncio.Semaphore(_AT_ONCE)
    head = head_message(token)

    async def open_one(number: int) -> object:
        process = channels[number % _CHANNELS].stream_stream(f"/{EXT_PROC_SERVICE}/Process")
        async with gate:
            call = process()
            await call.write(head)
            if await call.read() is grpc.aio.EOF:
                raise RuntimeError("the stream ended")
        return call

    calls = await asyncio.gather(*(open_one(number) for number in range(count)))
    print(f"{len(calls)} streams are open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for call in calls:
        call.cancel()
    for channel in channels:
        await channel.close()


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
