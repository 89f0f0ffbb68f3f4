"""The supervisor's side of a worker's control channel: the admin API, over a private Unix socket."""

from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from extproc.admin.errors import NoAnswerError, RefusedError
from extproc.admin.v1 import admin_pb2_grpc

ANSWER_WITHIN = 3.0
"""Seconds that a worker has for an answer."""

_MAX_ANSWER = 64 * 1024 * 1024  # bytes: a page of sessions, or all metrics
_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_ANSWER),
    # The socket appears some time after the process does.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class Control:
    """Calls the admin API of one worker during one of its lives."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub = admin_pb2_grpc.AdminStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def call(
        self, method: str, request: Any, *, within: float = ANSWER_WITHIN, wait_for_ready: bool = False
    ) -> Any:
        """The worker's answer. ``wait_for_ready``: its socket may be still to come.

        Raises:
            RefusedError: for what the worker calls an invalid argument.
            NoAnswerError: for any other failure; it names the status code only.
        """
        try:
            return await getattr(self._stub, method)(request, timeout=within, wait_for_ready=wait_for_ready)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise RefusedError(error.details()) from None
            raise NoAnswerError(error.code().name) from None
