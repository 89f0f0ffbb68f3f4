"""One ext_proc stream, as the engines drive it: the way of a request, and the waiting on it."""

from collections.abc import Awaitable

from extproc.request.answers import Answer
from extproc.request.pipeline import Pipeline
from extproc.request.way import Wait, way


class Stream:
    """Hands Envoy's messages to ``way``, and waits where it says so. Calls must not overlap."""

    __slots__ = ("_way",)

    def __init__(self, pipeline: Pipeline, *, target_name: str | None) -> None:
        self._way = way(pipeline, target_name)
        next(self._way)

    def receive(self, message: bytes) -> Answer | Awaitable[Answer]:
        """Return the answer to Envoy's next message.

        It is to be awaited, in the event loop, only while there are no credentials yet, a large body is
        hashed or the target is busy. All else is memory, and may be called from any thread.
        """
        step = self._way.send(message)
        if type(step) is Answer:
            return step
        return self._waited(step)

    async def _waited(self, step: Answer | Wait | None) -> Answer:
        while not isinstance(step, Answer):
            assert step is not None  # noqa: S101 - only before the first message
            try:
                found = await step()
            except Exception as error:  # noqa: BLE001 - what it means is decided on the way
                step = self._way.throw(error)
            else:
                step = self._way.send(found)
        return step

    def close(self) -> None:
        """Give back all that the stream holds. To be called once it is over, in whatever way."""
        self._way.close()
