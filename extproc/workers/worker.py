"""One worker: its process, started again whenever it ends."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from extproc.admin.errors import NoAnswerError
from extproc.admin.v1 import admin_pb2
from extproc.workers.backoff import BackOff
from extproc.workers.control import Control
from extproc.workers.lifeline import SERVE
from extproc.workers.revocations import Revocations
from extproc.workers.spec import ListenSlice, WorkerSpec

START_WITHIN = 60.0
"""Seconds until a new process must answer on its control channel."""
RELOAD_WITHIN = 30.0
"""Seconds that reading the configuration again may take."""

_WATCH_READY, _WATCH_UNREADY = 1.0, 0.1  # seconds between looks at a worker
_CANNOT_START = 71  # EX_OSERR of sysexits.h

_log = structlog.get_logger(__name__)


class Worker:
    """Keeps one worker running until ``stop``.

    ``command``: the command line to which the worker's place is added. Starting it is fork and
    exec: nothing of our gRPC lives on in it. ``on_end`` is called whenever the process has ended.
    """

    def __init__(
        self,
        *,
        number: int,
        of: int,
        share: ListenSlice,
        directory: Path,
        command: Sequence[str],
        revocations: Revocations,
        on_end: Callable[["Worker"], None],
    ) -> None:
        self.number = number
        self._of = of
        self.control: Control | None = None
        """The channel to the process; there while it serves."""
        self.unready: list[str] = ["starting"]
        """Reasons why it should get no traffic; empty when it should."""
        self.degraded: list[str] = []
        """What was wrong although it could take traffic, as of its last answer."""
        self.was_ready = False
        self.last_end: str | None = None
        self._share = share
        self._socket = directory / f"{number}.sock"
        self._command = command
        self._revocations = revocations
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._reload_is_due = False

    async def keep_running(self) -> int:
        """Start the process, and again when it ends; returns its exit status once it is stopped."""
        back_off = BackOff()
        while True:
            began = time.monotonic()
            status = await self._live()
            self.last_end = told(status)
            if self._stopping.is_set():
                return status
            delay = back_off.after(time.monotonic() - began)
            self.unready = [f"ended with {self.last_end}"]
            _log.error("worker_ended", worker=self.number, status=self.last_end, restart_in=delay)
            self._on_end(self)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
                return 0  # there was nothing to stop

    def stop(self) -> None:
        """Have the process drain and end, and not be started again."""
        self._stopping.set()
        self.unready = ["draining"]
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once."""
        self._signal(signal.SIGKILL)

    async def reload(self) -> list[str]:
        """Have the configuration read again; the problems with it.

        Raises:
            NoAnswerError: the worker does not answer.
        """
        if self.control is None:
            self._reload_is_due = True  # a process that is starting may have read the file already
            return []
        answer = await self.control.call("Reload", admin_pb2.ReloadRequest(), within=RELOAD_WITHIN)
        return list(answer.problems)

    async def _live(self) -> int:
        """One process, from its start to its end; its exit status."""
        self._socket.unlink(missing_ok=True)
        self._reload_is_due = False
        reads, writes = os.pipe()
        place = WorkerSpec(
            self.number, self._share, control=f"unix:{self._socket}", lifeline=reads, of=self._of
        )
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    "--as-worker",
                    place.to_json(),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(reads,),
                )
            except OSError as error:
                _log.error("worker_cannot_start", worker=self.number, error=type(error).__name__)
                return _CANNOT_START
            finally:
                os.close(reads)
            self._process = process
            if self._stopping.is_set():
                self._signal(signal.SIGTERM)
            watching = asyncio.create_task(self._watch(place.control, writes))
            try:
                return await process.wait()
            finally:
                self.control = None
                watching.cancel()
                await asyncio.wait({watching})
        finally:
            os.close(writes)  # in time or not, this tells a process without a supervisor to end

    async def _watch(self, address: str, lifeline: int) -> None:
        """Let a new process into service, then follow how it is."""
        try:
            async with Control(address) as control:
                status = admin_pb2.GetStatusRequest()
                await control.call("GetStatus", status, within=START_WITHIN, wait_for_ready=True)
                async with self._revocations.lock:
                    for request in self._revocations.living():
                        await control.call("Revoke", request)
                    os.write(lifeline, SERVE)
                    self.control = control
                if self._reload_is_due:
                    with contextlib.suppress(NoAnswerError):
                        await self.reload()
                pause = 0.0
                while True:
                    await asyncio.sleep(pause)
                    pause = await self._look(control)
        except Exception as error:  # noqa: BLE001 - whatever it is: a worker that is not watched must not serve
            _log.error("worker_not_watched", worker=self.number, error=type(error).__name__)
            self.kill()

    async def _look(self, control: Control) -> float:
        """See whether the process is ready; returns the seconds until the next look."""
        try:
            answer = await control.call("GetStatus", admin_pb2.GetStatusRequest())
            reasons = [reason for worker in answer.workers for reason in worker.reasons]
            self.degraded = [what for worker in answer.workers for what in worker.degraded]
        except NoAnswerError:
            reasons = ["does not answer"]
        if not self._stopping.is_set():
            self.unready = reasons
        self.was_ready = self.was_ready or not reasons
        return _WATCH_UNREADY if reasons else _WATCH_READY

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def told(status: int) -> str:
    """An exit status in words."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
