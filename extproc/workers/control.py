"""A worker's control channel: the methods of the admin API over a private Unix socket, without gRPC.

A gRPC server or client polls for itself, and whatever polls takes part in the work of all connections of its
process: each message of Envoy's would wake two threads in place of one, and cost a third more. The channel's
messages are few and small, so each call has a connection of its own:

    request: length (4 bytes), name of the method, zero byte, message
    answer:  length (4 bytes), status (1 byte), message of the answer or text of the error
"""

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog
from google.protobuf.message import DecodeError

from extproc.admin.errors import NoAnswerError, RefusedError
from extproc.admin.methods import MESSAGES

TIMEOUT = 3.0
"""Seconds that a worker has to answer."""

_MAX_MESSAGE = 64 * 1024 * 1024  # bytes: a page of sessions, or all metrics
_LENGTH = 4  # bytes
_OK, _REFUSED, _FAILED = b"\0", b"\1", b"\2"
_RETRY = 0.02  # seconds between attempts to reach a worker that is starting

_log = structlog.get_logger(__name__)


class Control:
    """Calls the admin API of one worker process, from the supervisor.

    Args:
        path: the socket, which appears some time after the process starts.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    async def call(
        self, method: str, request: Any, *, within: float = TIMEOUT, wait_for_ready: bool = False
    ) -> Any:
        """Call a method, and return the worker's answer ``within`` so many seconds.

        ``wait_for_ready``: whether to wait until the worker's socket appears.

        Raises:
            RefusedError: the worker reports an invalid argument.
            NoAnswerError: any other failure.
        """
        _, answer = MESSAGES[method]
        try:
            async with asyncio.timeout(within):
                reader, writer = await self._connected(retry=wait_for_ready)
                try:
                    await _write(writer, method.encode() + b"\0" + request.SerializeToString())
                    data = await _read(reader)
                finally:
                    writer.close()
        except TimeoutError:
            raise NoAnswerError("DEADLINE_EXCEEDED") from None
        except (OSError, asyncio.IncompleteReadError):
            raise NoAnswerError("UNAVAILABLE") from None
        status, content = data[:1], data[1:]
        if status == _REFUSED:
            raise RefusedError(content.decode(errors="replace"))
        if status != _OK:
            raise NoAnswerError(content.decode(errors="replace"))
        try:
            return answer.FromString(content)
        except DecodeError:
            raise NoAnswerError("UNREADABLE") from None

    async def _connected(self, *, retry: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            try:
                return await asyncio.open_unix_connection(self._path)
            except (FileNotFoundError, ConnectionRefusedError):
                if not retry:
                    raise
            await asyncio.sleep(_RETRY)


class ControlServer:
    """Serves a servicer of the admin API to the supervisor, as a context. Belongs to one event loop.

    Args:
        path: the socket; only its owner can reach it, by the rights of its directory too.
    """

    def __init__(self, servicer: object, path: str) -> None:
        self._servicer = servicer
        self._path = Path(path)
        self._calls: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._begin, self._path)
        self._path.chmod(0o600)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no longer, and end running calls."""
        self._server.close()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.create_task(self._serve(reader, writer))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # The supervisor may leave before it has its answer.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _write(writer, await self._answer(await _read(reader)))
        finally:
            writer.close()

    async def _answer(self, data: bytes) -> bytes:
        name = ""
        try:
            method, _, message = data.partition(b"\0")
            request, _ = MESSAGES[name := method.decode()]
            answer = await getattr(self._servicer, name)(request.FromString(message), _Supervisor())
            return _OK + bytes(answer.SerializeToString())
        except RefusedError as error:
            return _REFUSED + str(error).encode()
        except Exception as error:  # noqa: BLE001 - its message may quote a secret
            _log.error("admin_call_failed", method=name, error=type(error).__name__)
            return _FAILED + b"INTERNAL"


class _Supervisor:
    """The caller, as methods see it in the place of gRPC's context."""

    def peer(self) -> str:
        return "unix:"

    def auth_context(self) -> dict[str, Any]:
        return {}


async def _read(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(_LENGTH), "big")
    if length > _MAX_MESSAGE:
        raise OSError("a message is too large")
    return await reader.readexactly(length)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(len(data).to_bytes(_LENGTH, "big") + data)
    await writer.drain()
