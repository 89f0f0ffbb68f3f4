"""One worker: a process that is restarted whenever it ends."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from extproc.admin.errors import NoAnswerError
from extproc.admin.v1 import admin_pb2
from extproc.workers.backoff import BackOff
from extproc.workers.control import Control
from extproc.workers.lifeline import SERVE
from extproc.workers.processes import Process, Starter
from extproc.workers.revocations import RevocationLog
from extproc.workers.spec import ListenSlice, WorkerSpec

START_TIMEOUT = 60.0
"""Seconds within which a new process must answer on its control channel."""
RELOAD_TIMEOUT = 30.0
"""Seconds that a reload may take."""

_POLL_READY, _POLL_UNREADY = 1.0, 0.1  # seconds between two requests for a worker's status
_CANNOT_START = 71  # EX_OSERR of sysexits.h

_log = structlog.get_logger(__name__)


class Worker:
    """Keeps one worker running until ``stop``.

    Args:
        workers: how many workers there are.
        starter: starts the process.
        on_end: called whenever the process has ended.

    Attributes:
        control: the channel to the process while it serves, else None.
        unready: why the worker should get no traffic; empty if it should.
        degraded: what was wrong although it was ready, as of its last answer.
        was_ready: whether any of its processes has been ready.
        last_end: how its last process ended; None if none has.
    """

    def __init__(
        self,
        *,
        number: int,
        workers: int,
        listen: ListenSlice,
        directory: Path,
        starter: Starter,
        revocations: RevocationLog,
        on_end: Callable[["Worker"], None],
    ) -> None:
        self.number = number
        self.control: Control | None = None
        self.unready: list[str] = ["starting"]
        self.degraded: list[str] = []
        self.was_ready = False
        self.last_end: str | None = None
        self._workers = workers
        self._listen = listen
        self._socket = directory / f"{number}.sock"
        self._starter = starter
        self._revocations = revocations
        self._on_end = on_end
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._reload_is_due = False

    async def keep_running(self) -> int:
        """Start the process, and restart it when it ends; return its exit status after ``stop``."""
        back_off = BackOff()
        while True:
            began = time.monotonic()
            status = await self._run()
            self.last_end = describe(status)
            if self._stopping.is_set():
                return status
            delay = back_off.after(time.monotonic() - began)
            self.unready = [f"ended with {self.last_end}"]
            _log.error("worker_ended", worker=self.number, status=self.last_end, restart_in=delay)
            self._on_end(self)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
                return 0  # no process was running

    def stop(self) -> None:
        """Have the process drain and end, and do not restart it."""
        self._stopping.set()
        self.unready = ["draining"]
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once."""
        self._signal(signal.SIGKILL)

    async def reload(self) -> list[str]:
        """Have the worker read the configuration again; return the problems with it.

        Raises:
            NoAnswerError: the worker does not answer.
        """
        if self.control is None:
            # A process that is starting may have read the file already, so it must reload later.
            self._reload_is_due = True
            return []
        answer = await self.control.call("Reload", admin_pb2.ReloadRequest(), within=RELOAD_TIMEOUT)
        return list(answer.problems)

    async def _run(self) -> int:
        """Run one process, and return its exit status."""
        self._socket.unlink(missing_ok=True)
        self._reload_is_due = False
        reads, writes = os.pipe()
        spec = WorkerSpec(
            self.number,
            self._listen,
            control=str(self._socket),
            lifeline=reads,
            workers=self._workers,
        )
        try:
            try:
                process = await self._starter.start(spec)
            except OSError as error:
                _log.error("worker_cannot_start", worker=self.number, error=type(error).__name__)
                return _CANNOT_START
            finally:
                os.close(reads)
            self._process = process
            if self._stopping.is_set():
                self._signal(signal.SIGTERM)
            watching = asyncio.create_task(self._watch(spec.control, writes))
            try:
                return await process.wait()
            finally:
                self.control = None
                watching.cancel()
                await asyncio.wait({watching})
        finally:
            os.close(writes)  # a process that still runs ends when it reads this

    async def _watch(self, path: str, lifeline: int) -> None:
        """Allow a new process to serve, then poll its status."""
        try:
            control = Control(path)
            status = admin_pb2.GetStatusRequest()
            await control.call("GetStatus", status, within=START_TIMEOUT, wait_for_ready=True)
            async with self._revocations.lock:
                for request in self._revocations.in_force():
                    await control.call("Revoke", request)
                os.write(lifeline, SERVE)
                self.control = control
            if self._reload_is_due:
                with contextlib.suppress(NoAnswerError):
                    await self.reload()
            pause = 0.0
            while True:
                await asyncio.sleep(pause)
                pause = await self._poll(control)
        except Exception as error:  # noqa: BLE001 - a worker that is not watched must not serve
            _log.error("worker_not_watched", worker=self.number, error=type(error).__name__)
            self.kill()

    async def _poll(self, control: Control) -> float:
        """Update the worker's status; return the seconds until the next time."""
        try:
            answer = await control.call("GetStatus", admin_pb2.GetStatusRequest())
            reasons = [reason for worker in answer.workers for reason in worker.reasons]
            self.degraded = [what for worker in answer.workers for what in worker.degraded]
        except NoAnswerError:
            reasons = ["does not answer"]
        if not self._stopping.is_set():
            self.unready = reasons
        self.was_ready = self.was_ready or not reasons
        return _POLL_UNREADY if reasons else _POLL_READY

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def describe(status: int) -> str:
    """Return an exit status for people: a signal's name, or the number."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
