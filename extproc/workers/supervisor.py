"""Runs several workers as one server until SIGTERM, and serves their merged metrics and readiness."""

import asyncio
import contextlib
import signal
import tempfile
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, generate_latest

from extproc.admin import listeners
from extproc.admin.v1 import admin_pb2
from extproc.clock import Clock, system_clock
from extproc.config import Settings
from extproc.grpc_server.transport import Transport
from extproc.workers import control
from extproc.workers.fanout import FanOut
from extproc.workers.metrics import WorkerHealth, WorkerMetrics
from extproc.workers.ports import refuse_ports_in_use
from extproc.workers.processes import Starter
from extproc.workers.revocations import RevocationLog
from extproc.workers.spec import ListenSlice
from extproc.workers.worker import Worker, describe

_MARGIN = 5.0
"""Seconds after the workers' own time to drain until they are killed."""

_log = structlog.get_logger(__name__)


class Supervisor:
    """Supervises one worker for each slice. Build it inside the event loop that runs it.

    Args:
        starter: starts the workers' processes.
        admin_transport: where to serve the admin API; None for no admin API.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        slices: list[ListenSlice],
        starter: Starter,
        admin_transport: Transport | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._admin_transport = admin_transport
        self._settings = settings
        self._slices = slices
        self._starter = starter
        self._revocations = RevocationLog(clock=clock)
        self._workers: list[Worker] = []
        self._stopped = asyncio.Event()
        self._draining = False
        self._reloads: set[asyncio.Task[None]] = set()
        self._registry = CollectorRegistry()
        self._health = WorkerHealth(self._registry)

    async def run(self) -> None:
        """Supervise until SIGTERM or SIGINT, then drain.

        Raises:
            OSError: an address is in use.
            RuntimeError: the workers end by themselves and none was ever ready, or did not drain.
        """
        refuse_ports_in_use(self._settings.listen.grpc_addresses)
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, self._stopped.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        async with contextlib.AsyncExitStack() as cleanup:
            directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="extproc-")))
            self._workers = [
                Worker(
                    number=number,
                    workers=len(self._slices),
                    listen=listen,
                    directory=directory,  # only its owner can read it; mkdtemp sees to that
                    starter=self._starter,
                    revocations=self._revocations,
                    on_end=self._on_end,
                )
                for number, listen in enumerate(self._slices, start=1)
            ]
            self._show_workers(loop)
            await cleanup.enter_async_context(
                listeners.serving(
                    lambda: FanOut(
                        workers=self._workers, revocations=self._revocations, metrics=self._metrics
                    ),
                    http=self._settings.listen.admin,
                    grpc=self._admin_transport,
                    registry=self._registry,
                    unready=self.unready,
                    degraded=self.degraded,
                )
            )
            running = [asyncio.create_task(worker.keep_running()) for worker in self._workers]
            _log.info("supervising", workers=len(self._workers), grpc=self._settings.listen.grpc)
            try:
                await asyncio.wait(
                    [*running, stopped := asyncio.create_task(self._stopped.wait())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                stopped.cancel()
            finally:
                await self._drain(running)
        _log.info("stopped")

    def unready(self) -> list[str]:
        """Return why this instance should get no traffic; an empty list if one worker at least is ready."""
        if self._draining:
            return ["draining"]
        if any(not worker.unready for worker in self._workers):
            return []
        return self.degraded()

    def degraded(self) -> list[str]:
        """Return what is wrong, worker by worker."""
        return [
            f"worker {worker.number}: {reason}"
            for worker in self._workers
            for reason in dict.fromkeys((*worker.unready, *worker.degraded))
        ]

    def _on_end(self, worker: Worker) -> None:
        self._health.ended(worker.number)
        if self._is_hopeless():
            self._stopped.set()

    def _is_hopeless(self) -> bool:
        """Return whether each worker has ended and none was ever ready.

        More attempts would only hide the reason in the log.
        """
        return all(each.last_end for each in self._workers) and not any(
            each.was_ready for each in self._workers
        )

    def _show_workers(self, loop: asyncio.AbstractEventLoop) -> None:
        """Register the workers' own metrics, and those about the workers."""

        def fetch() -> dict[int, str]:  # runs in a thread of the admin listener
            return asyncio.run_coroutine_threadsafe(self._expositions(), loop).result(2 * control.TIMEOUT)

        self._registry.register(WorkerMetrics(fetch))
        for worker in self._workers:
            self._health.follow(worker.number, partial(_is_ready, worker))

    async def _expositions(self) -> dict[int, str]:
        """Return the metrics of every worker that answers."""
        serving = [(worker, worker.control) for worker in self._workers if worker.control is not None]
        request = admin_pb2.GetMetricsRequest()
        answers = await asyncio.gather(
            *(channel.call("GetMetrics", request) for _, channel in serving), return_exceptions=True
        )
        return {
            worker.number: answer.text
            for (worker, _), answer in zip(serving, answers, strict=True)
            if not isinstance(answer, BaseException)
        }

    def _on_hangup(self) -> None:
        task = asyncio.create_task(self._reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:
        """Have every worker read the configuration again. Each of them logs the outcome."""
        answers = await asyncio.gather(*(worker.reload() for worker in self._workers), return_exceptions=True)
        for worker, answer in zip(self._workers, answers, strict=True):
            if isinstance(answer, BaseException):
                _log.error("worker_not_reloaded", worker=worker.number, error=type(answer).__name__)

    async def _metrics(self) -> str:
        # In a thread: collecting waits for calls that this event loop makes.
        return (await asyncio.to_thread(generate_latest, self._registry)).decode()

    async def _drain(self, running: list[asyncio.Task[int]]) -> None:
        hopeless = self._is_hopeless()
        ends = ", ".join(str(worker.last_end) for worker in self._workers)
        _log.info("draining", seconds=self._settings.drain_seconds)
        self._draining = True
        for worker in self._workers:
            worker.stop()
        await asyncio.wait(
            running, timeout=self._settings.drain_delay_seconds + self._settings.drain_seconds + _MARGIN
        )
        for worker in self._workers:
            worker.kill()  # does nothing to those that have ended
        statuses = await asyncio.gather(*running)
        if hopeless:
            raise RuntimeError(f"no worker became ready ({ends}); their own messages say why")
        # SIGTERM kills a process that has not installed its handler yet.
        if unclean := [describe(status) for status in statuses if status not in (0, -signal.SIGTERM)]:
            raise RuntimeError(f"workers did not drain: {', '.join(unclean)}")


def _is_ready(worker: Worker) -> bool:
    return not worker.unready
