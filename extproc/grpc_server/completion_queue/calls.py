"""One call each: what to do when its next batch of operations is done.

A batch's tag is the method that goes on with the call. Everything of a call that is not
loop-bound happens in the polling thread, one event after the other, so a call needs no lock.
"""

from collections.abc import Callable
from typing import Any

import structlog
from grpc._cython import cygrpc

from extproc.request.answers import Answer
from extproc.request.stream import Stream

Status = tuple[Any, bytes]
OK: Status = (cygrpc.StatusCode.ok, b"")
NO_ANSWER: Status = (cygrpc.StatusCode.aborted, b"no answer")

_NO_FLAGS = 0

_log = structlog.get_logger(__name__)


class Call:
    """A call of a client. Ends with one status, after which nothing holds it."""

    __slots__ = ("_call", "_ended", "_started", "_watched")

    def __init__(self, call: Any) -> None:
        self._call = call
        self._started = False
        self._ended = False
        self._watched = False

    def receive(self) -> None:
        """Wait for the client's next message."""
        self._call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), self._arrived)

    def send(self, message: bytes, *, then: Callable[[Any], None] | None = None) -> None:
        """Send a message, and wait for the client's next one, or go on with ``then`` once it is sent."""
        operations = [*self._initial(), cygrpc.SendMessageOperation(message, _NO_FLAGS)]
        if then is None:
            operations.append(cygrpc.ReceiveMessageOperation(_NO_FLAGS))
        self._call.start_server_batch(operations, then or self._arrived)

    def end(self, status: Status, last_message: bytes | None = None) -> None:
        """Send the last message, if there is one, and the status. Later ends change nothing."""
        if self._ended:
            return
        self._ended = True
        operations = self._initial()
        if last_message is not None:
            operations.append(cygrpc.SendMessageOperation(last_message, _NO_FLAGS))
        operations.append(cygrpc.SendStatusFromServerOperation(None, *status, _NO_FLAGS))
        if not self._watched:
            operations.append(cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS))
        self._call.start_server_batch(operations, _done)

    def watch(self, closed: Callable[[Any], None]) -> None:
        """Have ``closed`` called when the call is over, for whatever cause; once a call."""
        if not self._watched:
            self._watched = True
            self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), closed)

    def _initial(self) -> list[Any]:
        if self._started:
            return []
        self._started = True
        return [cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS)]

    def _arrived(self, event: Any) -> None:
        """A message has come; or none, since the client has half-closed or gone."""
        # The operation that receives is the last of its batch.
        message = event.batch_operations[-1].message()
        try:
            if message is None:
                self.on_half_close()
            else:
                self.on_message(message)
        except Exception as error:  # noqa: BLE001 - the status must not be OK, and must not tell why
            _log.error("stream_failed", error=type(error).__name__)
            self.end(NO_ANSWER)

    def on_message(self, message: bytes) -> None:
        """Go on with the client's message."""
        raise NotImplementedError

    def on_half_close(self) -> None:
        """Nothing more will come."""
        self.end(NO_ANSWER)


class RefusedCall(Call):
    """A call that gets nothing but its status.

    Once its first message has come: a client that is still writing would see its stream
    reset, and not why.
    """

    __slots__ = ("_status",)

    def __init__(self, call: Any, status: Status) -> None:
        super().__init__(call)
        self._status = status

    def on_message(self, _message: bytes) -> None:
        """End it."""
        self.end(self._status)

    def on_half_close(self) -> None:
        """End it."""
        self.end(self._status)


def _done(_event: Any) -> None:
    """Nothing is left to do; the event was all that still held the call."""


class Onlookers:
    """Calls whose requests are signed, and which stay to see the upstream's answer."""

    def __init__(self) -> None:
        self._calls: set[ProcessCall] = set()
        self._sent_away = False

    def add(self, call: "ProcessCall") -> None:
        """Let a call stay, until ``send_away``."""
        self._calls.add(call)
        if self._sent_away:
            call.let_go()

    def discard(self, call: "ProcessCall") -> None:
        """Forget a call that ends."""
        self._calls.discard(call)

    def send_away(self) -> None:
        """Have all calls end, and further ones at once."""
        self._sent_away = True
        for call in list(self._calls):
            call.let_go()


class ProcessCall(Call):
    """A stream of Envoy's. Every way out is a last answer or a status that is not OK.

    ``later`` runs what has to wait in the event loop, and then ``answer``; ``leave`` has it wait no more.
    """

    __slots__ = ("_later", "_leave", "_onlookers", "_stream")

    def __init__(
        self,
        call: Any,
        stream: Stream,
        later: Callable[["ProcessCall", Any], None],
        leave: Callable[["ProcessCall"], None],
        onlookers: Onlookers,
    ) -> None:
        super().__init__(call)
        self._onlookers = onlookers
        self._stream = stream
        self._later = later
        self._leave = leave

    def on_message(self, message: bytes) -> None:
        """Answer at once from what is known, else later."""
        answer = self._stream.receive(message)
        if isinstance(answer, Answer):
            self.answer(answer)
        else:
            # Nothing is received meanwhile, which would tell that Envoy has gone.
            self.watch(self._closed)
            self._later(self, answer)

    def end(self, status: Status, last_message: bytes | None = None) -> None:
        """End the call, and then the stream, in whatever way it is over."""
        self._onlookers.discard(self)
        super().end(status, last_message)
        self._stream.close()

    def _closed(self, event: Any) -> None:
        if event.batch_operations[-1].cancelled():
            self._leave(self)

    def answer(self, answer: Answer) -> None:
        """Send an answer. Leaving after the last keeps no stream open during a long response."""
        if answer.last:
            self.end(OK, answer.message)
        else:
            self.send(answer.message)
            # Not before: a call that is let go without its signature would let the request go as it came.
            if answer.may_end:
                self._onlookers.add(self)
                if self._ended:  # pragma: no cover - by the other thread, meanwhile
                    self._onlookers.discard(self)

    def let_go(self) -> None:
        """End the call, whose request is signed; from any thread."""
        # A batch without operations is done at once, and has the polling thread go on.
        self._call.start_server_batch((), self._go)

    def _go(self, _event: Any) -> None:
        self.end(OK)
