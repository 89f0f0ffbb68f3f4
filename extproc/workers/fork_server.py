"""A process that has imported everything, and forks the workers: they share its memory, and start in moments.

gRPC can be used after a fork, but not before one (its doc/fork_support.md, "use after fork"): its threads
and locks would be copied in any state. So the fork server makes no object of gRPC and no thread, reads
requests from its supervisor, and does nothing else. It is itself forked before the supervisor uses gRPC.
Decision 8 has what was measured.

The supervisor sends a ``WorkerSpec`` and two descriptors: the worker's end of the lifeline, and a pipe. The
server writes to that pipe the process id of the new worker, and at its end the exit status. If the server is
killed, its workers go on, and later ones are started as new processes.
"""

import asyncio
import contextlib
import gc
import os
import select
import signal
import socket
from pathlib import Path
from typing import IO, Any

import structlog

from extproc.workers.processes import Process, Starter, name_process
from extproc.workers.spec import WorkerSpec

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NUMBER = 8  # bytes of a process id, an exit status, or the negative number of an error
_LONGEST_REQUEST = 64 * 1024  # bytes
_ANSWERS_WITHIN = 10.0  # seconds; a fork takes milliseconds

_log = structlog.get_logger(__name__)


class ForkServer:
    """The supervisor's side.

    Args:
        pid: the server's process id.
        requests: where the server reads.
        otherwise: starts workers if there is no server any more.
    """

    def __init__(self, pid: int, requests: socket.socket, *, otherwise: Starter) -> None:
        self._pid = pid
        self._requests = requests
        self._otherwise = otherwise
        self._has_ended = False

    async def start(self, spec: WorkerSpec) -> Process:
        """Start a worker; raises ``OSError``."""
        if not self._has_ended:
            try:
                return await self._fork(spec)
            except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
                self._end()
                _log.error("fork_server_ended", consequence="workers start more slowly, and share no memory")
        return await self._otherwise.start(spec)

    async def _fork(self, spec: WorkerSpec) -> Process:
        reads, writes = os.pipe()
        pipe = os.fdopen(reads, "rb", buffering=0)
        try:
            socket.send_fds(self._requests, [spec.to_json().encode()], [spec.lifeline, writes])
        except BaseException:
            pipe.close()
            raise
        finally:
            os.close(writes)
        answers = await _Answers.connected(pipe)
        try:
            return _Forked(await answers.process_id(), answers)
        except BaseException:
            answers.close()
            raise

    def close(self) -> None:
        """End the server; its workers stay."""
        if not self._has_ended:
            self._end()

    def _end(self) -> None:
        self._has_ended = True
        self._requests.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


class _Answers:
    """What the server writes about one worker."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.BaseTransport) -> None:
        self._reader = reader
        self._transport = transport

    @classmethod
    async def connected(cls, pipe: IO[bytes]) -> "_Answers":
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        return cls(reader, transport)

    async def process_id(self) -> int:
        """Return the first number, the worker's process id; raises ``OSError`` if it was not forked."""
        pid = await self.next()
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    async def next(self) -> int:
        """Return the next number.

        Raises:
            TimeoutError: the server does not answer.
            asyncio.IncompleteReadError: it has ended.
        """
        async with asyncio.timeout(_ANSWERS_WITHIN):
            return _number(await self._reader.readexactly(_NUMBER))

    def close(self) -> None:
        self._transport.close()


class _Forked:
    """A worker that the server has forked."""

    def __init__(self, pid: int, answers: _Answers) -> None:
        self._answers = answers
        self._last_signal = 0
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended already, and how is the next answer
            self._pidfd = -1

    async def wait(self) -> int:
        try:
            if self._pidfd >= 0:
                await _readable(self._pidfd)
            return await self._answers.next()
        except (asyncio.IncompleteReadError, TimeoutError):
            # Without the server nobody here knows: its workers have become another process's children.
            return -signal.SIGKILL if self._last_signal == signal.SIGKILL else 0
        finally:
            self._answers.close()
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1

    def send_signal(self, number: signal.Signals) -> None:
        if self._pidfd < 0:
            raise ProcessLookupError
        self._last_signal = number
        signal.pidfd_send_signal(self._pidfd, number)


def begin(*, otherwise: Starter) -> Starter | WorkerSpec:
    """Fork the server; return what starts workers. In a worker, return what it is to do.

    Call it in the main thread, before anything uses gRPC. Where forking is not possible or not safe,
    ``otherwise`` is returned.
    """
    if not _is_safe():
        return otherwise
    # If whoever started this process ignores the ends of children, it would have no exit statuses of them.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.freeze()  # a collection writes to what it looks at, and would so copy each page
    supervisors, servers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        servers.close()
        supervisors.settimeout(0)
        return ForkServer(pid, supervisors, otherwise=otherwise)
    supervisors.close()
    return _Server(servers).run()


def _is_safe() -> bool:
    """Return whether this process may be forked: Linux, with no thread but this one, not even a library's."""
    try:
        os.close(os.pidfd_open(os.getpid()))
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except (AttributeError, OSError):
        return False


class _Server:
    """The fork server's side. It has one thread and no event loop."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._poll = select.poll()
        self._workers: dict[int, tuple[int, int]] = {}  # by pidfd: process id, and pipe to the supervisor

    def run(self) -> WorkerSpec:
        """Fork workers until the supervisor ends; return in each worker, and never here."""
        name_process("extproc-fork")
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for number in _SIGNALS:  # sent to all processes of a terminal or a service; the supervisor decides
            signal.signal(number, signal.SIG_IGN)
        self._poll.register(self._requests, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor != self._requests.fileno():
                    self._report_end(descriptor)
                elif (spec := self._next()) is not None:
                    return spec

    def _next(self) -> WorkerSpec | None:
        """Take a request; return what is to be done in the worker, None in the server."""
        message, (lifeline, pipe), _, _ = _received(self._requests)
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            return self._become_worker(message, lifeline, pipe)
        os.close(lifeline)
        _write(pipe, pid)
        if pid > 0:
            pidfd = os.pidfd_open(pid)
            self._workers[pidfd] = (pid, pipe)
            self._poll.register(pidfd, select.POLLIN)
        else:
            os.close(pipe)
        return None

    def _become_worker(self, message: bytes, lifeline: int, pipe: int) -> WorkerSpec:
        """Let go of what is the server's."""
        self._requests.close()
        os.close(pipe)
        for pidfd, (_, others) in self._workers.items():
            os.close(pidfd)
            os.close(others)
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        return WorkerSpec.from_json(message.decode(), lifeline=lifeline)

    def _report_end(self, pidfd: int) -> None:
        pid, pipe = self._workers.pop(pidfd)
        self._poll.unregister(pidfd)
        _, status = os.waitpid(pid, 0)
        _write(pipe, os.waitstatus_to_exitcode(status))
        os.close(pipe)
        os.close(pidfd)


def _received(requests: socket.socket) -> Any:
    """Return a request and its two descriptors; exit if the supervisor has ended."""
    received = socket.recv_fds(requests, _LONGEST_REQUEST, 2)
    if not received[0]:
        os._exit(0)
    return received


def _write(pipe: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the supervisor has ended; its socket will say so
        os.write(pipe, number.to_bytes(_NUMBER, "big", signed=True))


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


async def _readable(descriptor: int) -> None:
    """Wait until a descriptor is readable, as a pidfd is when its process has ended."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)
