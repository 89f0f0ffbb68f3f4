"""One ext_proc stream, as the engines drive it: runs ``request.way`` and awaits what that waits for."""

from collections.abc import Awaitable

from extproc.request.answers import Answer
from extproc.request.pipeline import Pipeline
from extproc.request.way import Wait, way


class Stream:
    """Sends Envoy's messages to ``way``, and awaits what it yields. Calls must not overlap."""

    __slots__ = ("_may_end", "_way")

    def __init__(self, pipeline: Pipeline, *, target_name: str | None) -> None:
        self._may_end = False
        self._way = way(pipeline, target_name)
        next(self._way)

    def receive(self, message: bytes) -> Answer | Awaitable[Answer]:
        """Return the answer to Envoy's next message.

        An awaitable is for the event loop, and comes only if credentials must be obtained, a large body
        hashed or a slot of the target waited for. Until then any thread may call this.
        """
        step = self._way.send(message)
        if type(step) is Answer:
            self._may_end = step.last or step.may_end
            return step
        self._may_end = False
        return self._waited(step)

    async def _waited(self, step: Answer | Wait | None) -> Answer:
        while not isinstance(step, Answer):
            assert step is not None  # noqa: S101 - only before the first message
            try:
                found = await step()
            except Exception as error:  # noqa: BLE001 - the way makes an answer of it
                step = self._way.throw(error)
            else:
                step = self._way.send(found)
        self._may_end = step.last or step.may_end
        return step

    def close(self) -> None:
        """Give back all that the stream holds. Call it once the stream is over, for whatever cause."""
        if self._may_end:
            next(self._way, None)  # sends None, upon which it ends: cheaper than an exception
        self._way.close()
