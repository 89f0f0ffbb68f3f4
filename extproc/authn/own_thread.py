"""Blocking work in a thread of its own.

For work that is rare and may hang in a call that cannot be cancelled, such as ``getaddrinfo``. In a shared
pool, hanging threads would block other work.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_own_thread(work: Callable[[], Result], *, name: str) -> Result:
    """Run ``work`` and return its result.

    Cancelling does not end the thread: it runs on, its result is dropped, and it does not keep the process
    alive.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Result] = loop.create_future()

    def deliver(set_: Callable[[Result], None] | Callable[[BaseException], None], outcome: object) -> None:
        if not result.done():
            set_(outcome)  # type: ignore[arg-type]

    def run() -> None:
        try:
            outcome = work()
        except BaseException as error:  # noqa: BLE001 - every kind is raised in the waiting task
            ended = result.set_exception, error
        else:
            ended = result.set_result, outcome  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(deliver, *ended)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await result
