"""A worker's control channel, from the supervisor's side: the admin API over a private Unix socket."""

from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from extproc.admin.errors import NoAnswerError, RefusedError
from extproc.admin.methods import calls

TIMEOUT = 3.0
"""Seconds that a worker has to answer."""

_MAX_ANSWER = 64 * 1024 * 1024  # bytes: a page of sessions, or all metrics
_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_ANSWER),
    # The socket appears some time after the process starts.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class Control:
    """Calls the admin API of one worker process."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._calls = calls(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def call(
        self, method: str, request: Any, *, within: float = TIMEOUT, wait_for_ready: bool = False
    ) -> Any:
        """Call a method, and return the worker's answer ``within`` so many seconds.

        ``wait_for_ready``: whether to wait until the worker's socket appears.

        Raises:
            RefusedError: the worker reports an invalid argument.
            NoAnswerError: any other failure; the message is the status code only.
        """
        try:
            return await self._calls[method](request, timeout=within, wait_for_ready=wait_for_ready)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise RefusedError(error.details()) from None
            raise NoAnswerError(error.code().name) from None
