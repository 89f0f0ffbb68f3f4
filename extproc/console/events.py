"""Server-sent events (HTML Living Standard 9.2): parts of a page, rendered here, as they change.

A stream lasts seconds, and the browser opens the next one from where it was. So a stream is within the
time that the listener gives a response, and a user who may not look any more soon sees no more.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass

from starlette.responses import Response, StreamingResponse

from extproc.console.visit import Visit

LASTS = 25.0
"""Seconds of one stream; the listener allows a response 30."""

_RETRY = 300  # milliseconds until a browser opens the next one


@dataclass(frozen=True, slots=True)
class Update:
    """A change of a page.

    Attributes:
        target: the id of an element.
        how: ``replace`` its content, or ``prepend`` to it.
        html: rendered, so that it is safe.
        number: where the next stream begins.
    """

    target: str
    how: str
    html: str
    number: int | None = None


def stream(
    visit: Visit, updates: Callable[[int], AsyncIterator[Update]], *, every: float, first: int = 0
) -> Response:
    """Return a stream of updates.

    Args:
        visit: whose page it is.
        updates: yields what has changed since a number.
        every: seconds between two times that it is asked.
        first: the number at first; the browser's ``Last-Event-ID`` replaces it.
    """
    last = visit.request.headers.get("last-event-id", "")
    begin = int(last) if last.isdecimal() and len(last) < 16 else first  # noqa: PLR2004 - what SQLite has room for
    return StreamingResponse(
        _lines(visit, updates, every, begin),
        media_type="text/event-stream",
        headers={"x-accel-buffering": "no"},
    )


async def _lines(
    visit: Visit, updates: Callable[[int], AsyncIterator[Update]], every: float, last: int
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    end = loop.time() + LASTS
    visit.parts.follower.viewers += 1
    try:
        yield f"retry: {_RETRY}\n\n".encode()
        while loop.time() < end and not visit.session.ended:
            async for update in updates(last):
                if update.number is not None:
                    last = update.number
                fields = {name: value for name, value in asdict(update).items() if name != "number"}
                yield f"id: {last}\ndata: {json.dumps(fields)}\n\n".encode()
            await asyncio.sleep(every)
    finally:
        visit.parts.follower.viewers -= 1
