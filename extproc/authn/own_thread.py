"""Blocking work in a thread of its own.

For what is rare and may hang where nobody can end it, as a name server's answer may: threads of a
shared pool would be missing for other work.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_own_thread(work: Callable[[], Result], *, name: str) -> Result:
    """Run ``work``. Cancelling this leaves the thread to itself; it does not keep the process alive."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Result] = loop.create_future()

    def tell(set_: Callable[[Result], None] | Callable[[BaseException], None], outcome: object) -> None:
        if not result.done():
            set_(outcome)  # type: ignore[arg-type]

    def run() -> None:
        try:
            outcome = work()
        except BaseException as error:  # noqa: BLE001 - of whatever kind, it is for whoever waits
            ended = result.set_exception, error
        else:
            ended = result.set_result, outcome  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(tell, *ended)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await result
