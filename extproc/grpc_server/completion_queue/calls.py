"""Calls on the completion queue: each receives messages, sends answers and ends with one status.

The tag of a batch of operations is the method to call when the batch is done. A call needs no lock: what is
not bound to the event loop happens in the polling thread, one event after the other.

When Envoy resets a stream whose answer is awaited (STS is being asked, say), ``ProcessCall._closed`` ends the
wait. The exchange itself goes on for others (``caching.single_flight``).
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

# Operations that hold nothing of a call: all calls share them.
_INITIAL_METADATA = (cygrpc.SendInitialMetadataOperation(None, _NO_FLAGS),)
_END_OK = cygrpc.SendStatusFromServerOperation(None, *OK, _NO_FLAGS)
_CLOSE_UNREAD = cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS)

_log = structlog.get_logger(__name__)


class Call:
    """A client's call. After its status nothing holds a reference to it."""

    __slots__ = ("_call", "_ended", "_initial", "_watched")

    def __init__(self, call: Any) -> None:
        self._call = call
        self._initial: tuple[Any, ...] = _INITIAL_METADATA  # what the next batch begins with
        self._ended = False
        self._watched = False

    def receive(self) -> None:
        """Receive the client's next message."""
        self._call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), self._arrived)

    def send(self, message: bytes, *, then: Callable[[Any], None] | None = None) -> None:
        """Send a message; then receive the client's next one, or call ``then``."""
        initial, self._initial = self._initial, ()
        operations = [*initial, cygrpc.SendMessageOperation(message, _NO_FLAGS)]
        if then is None:
            operations.append(cygrpc.ReceiveMessageOperation(_NO_FLAGS))
        self._call.start_server_batch(operations, then or self._arrived)

    def end(self, status: Status, last_message: bytes | None = None) -> None:
        """Send the last message, if there is one, and the status. Later calls do nothing."""
        if self._ended:
            return
        self._ended = True
        operations = [*self._initial]
        if last_message is not None:
            operations.append(cygrpc.SendMessageOperation(last_message, _NO_FLAGS))
        operations.append(
            _END_OK if status is OK else cygrpc.SendStatusFromServerOperation(None, *status, _NO_FLAGS)
        )
        if not self._watched:
            operations.append(_CLOSE_UNREAD)
        self._call.start_server_batch(operations, _done)
        self.on_end()

    def let_go(self) -> None:
        """End the call without an operation: there is nobody to send a status to. Later calls do nothing."""
        if not self._ended:
            self._ended = True
            self.on_end()

    def on_end(self) -> None:
        """Release what the call holds: its status is sent, or its connection is closed."""

    def watch(self, closed: Callable[[Any], None]) -> None:
        """Call ``closed`` when the call is over, for whatever cause. Later calls do nothing."""
        if not self._watched:
            self._watched = True
            self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS),), closed)

    def _arrived(self, event: Any) -> None:
        """Handle a message; or none, if the client has half-closed or gone."""
        # The operation that receives is the last of its batch.
        message = event.batch_operations[-1].message()
        try:
            if message is None:
                self.on_half_close()
            else:
                self.on_message(message)
        except Exception as error:  # noqa: BLE001 - the status must neither be OK nor give the cause
            _log.error("stream_failed", error=type(error).__name__)
            self.end(NO_ANSWER)

    def on_message(self, message: bytes) -> None:
        """Handle the client's message."""
        raise NotImplementedError

    def on_half_close(self) -> None:
        """End the call: no message will follow."""
        self.end(NO_ANSWER)


class RefusedCall(Call):
    """A call that gets nothing but a status.

    It gets it after its first message: a client that is still writing would see a reset stream and no status.
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
    """Do nothing: the event held the last reference to the call."""


class SignedCalls:
    """Calls of signed requests that stay open for the upstream's response. They may be ended at any time."""

    def __init__(self) -> None:
        self._calls: set[ProcessCall] = set()
        self._all_end = False

    def add(self, call: "ProcessCall") -> None:
        """Keep a call open until ``end_all``."""
        self._calls.add(call)
        if self._all_end:
            call.end_signed()

    def discard(self, call: "ProcessCall") -> None:
        """Drop a call that ends."""
        self._calls.discard(call)

    def end_all(self) -> None:
        """End all calls, and further ones at once."""
        self._all_end = True
        for call in list(self._calls):
            call.end_signed()


class ProcessCall(Call):
    """A stream of Envoy's. It always ends with a last answer or a status that is not OK.

    Args:
        answer_later: awaits an answer in the event loop and sends it with ``answer``.
        stop_waiting: cancels that, since Envoy reset the stream.
    """

    __slots__ = ("_answer_later", "_signed_calls", "_stop_waiting", "_stream")

    def __init__(
        self,
        call: Any,
        stream: Stream,
        answer_later: Callable[["ProcessCall", Any], None],
        stop_waiting: Callable[["ProcessCall"], None],
        signed_calls: SignedCalls,
    ) -> None:
        super().__init__(call)
        self._signed_calls = signed_calls
        self._stream = stream
        self._answer_later = answer_later
        self._stop_waiting = stop_waiting

    def on_message(self, message: bytes) -> None:
        """Answer at once if nothing has to be waited for."""
        answer = self._stream.receive(message)
        if isinstance(answer, Answer):
            self.answer(answer)
        else:
            # No receive is under way meanwhile that would show that Envoy has gone.
            self.watch(self._closed)
            self._answer_later(self, answer)

    def on_end(self) -> None:
        """End the stream: its slot and its record are released however the call ended."""
        self._signed_calls.discard(self)
        self._stream.close()

    def _closed(self, event: Any) -> None:
        if event.batch_operations[-1].cancelled():
            self._stop_waiting(self)

    def answer(self, answer: Answer) -> None:
        """Send an answer. The call ends with the last one, not with the upstream's response."""
        if answer.last:
            self.end(OK, answer.message)
        else:
            self.send(answer.message)
            # Not earlier: a call that ends with OK before its signature would forward the request as it came.
            if answer.may_end:
                self._signed_calls.add(self)
                if self._ended:  # pragma: no cover - by the other thread, meanwhile
                    self._signed_calls.discard(self)

    def end_signed(self) -> None:
        """End the call of a signed request. For any thread."""
        # A batch without operations is done at once, so the polling thread calls its tag.
        self._call.start_server_batch((), self._end_ok)

    def _end_ok(self, _event: Any) -> None:
        self.end(OK)
