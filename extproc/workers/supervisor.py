"""Runs several workers as one server, until SIGTERM. Serves their merged metrics and readiness."""

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, generate_latest

from extproc.admin import listeners
from extproc.admin.v1 import admin_pb2
from extproc.clock import Clock, system_clock
from extproc.config import Settings
from extproc.grpc_server.transport import Transport
from extproc.workers.control import ANSWER_WITHIN
from extproc.workers.fanout import FanOut
from extproc.workers.metrics import WorkerHealth, WorkerMetrics
from extproc.workers.ports import refuse_ports_in_use
from extproc.workers.revocations import Revocations
from extproc.workers.spec import ListenSlice
from extproc.workers.worker import Worker, told

_MARGIN = 5.0
"""Seconds that workers get beyond their own time to drain, before they are killed."""

_log = structlog.get_logger(__name__)


class Supervisor:
    """Supervises one worker for each share. Build it inside the event loop that runs it.

    ``command``: what starts a worker, but for its place.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        shares: list[ListenSlice],
        command: Sequence[str],
        admin_transport: Transport | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._admin_transport = admin_transport
        self._settings = settings
        self._shares = shares
        self._command = command
        self._revocations = Revocations(clock=clock)
        self._workers: list[Worker] = []
        self._over = asyncio.Event()
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
            loop.add_signal_handler(signal_number, self._over.set)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        async with contextlib.AsyncExitStack() as cleanup:
            directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="extproc-")))
            self._workers = [
                Worker(
                    number=number,
                    of=len(self._shares),
                    share=share,
                    directory=directory,  # readable by its owner alone, as mkdtemp makes it
                    command=self._command,
                    revocations=self._revocations,
                    on_end=self._on_end,
                )
                for number, share in enumerate(self._shares, start=1)
            ]
            self._follow_workers(loop)
            await cleanup.enter_async_context(
                listeners.serving(
                    FanOut(workers=self._workers, revocations=self._revocations, metrics=self._metrics),
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
                    [*running, over := asyncio.create_task(self._over.wait())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                over.cancel()
            finally:
                await self._drain(running)
        _log.info("stopped")

    def unready(self) -> list[str]:
        """Why this instance should get no traffic; empty when one worker at least can take it."""
        if self._draining:
            return ["draining"]
        if any(not worker.unready for worker in self._workers):
            return []
        return self.degraded()

    def degraded(self) -> list[str]:
        """What is not as it should be, worker by worker."""
        return [
            f"worker {worker.number}: {reason}"
            for worker in self._workers
            for reason in dict.fromkeys((*worker.unready, *worker.degraded))
        ]

    def _on_end(self, worker: Worker) -> None:
        self._health.ended(worker.number)
        if self._is_hopeless():
            self._over.set()

    def _is_hopeless(self) -> bool:
        """Each has ended by itself, and none was ever ready: more attempts would only hide the reason."""
        return all(each.last_end for each in self._workers) and not any(
            each.was_ready for each in self._workers
        )

    def _follow_workers(self, loop: asyncio.AbstractEventLoop) -> None:
        """Show what the workers measure, and how they are, whenever metrics are asked for."""

        def ask() -> dict[int, str]:  # in a thread of the admin listener
            return asyncio.run_coroutine_threadsafe(self._expositions(), loop).result(2 * ANSWER_WITHIN)

        self._registry.register(WorkerMetrics(ask))
        for worker in self._workers:
            self._health.follow(worker.number, partial(_is_ready, worker))

    async def _expositions(self) -> dict[int, str]:
        """The metrics of every worker that answers."""
        serving = [(worker, worker.control) for worker in self._workers if worker.control is not None]
        request = admin_pb2.GetMetricsRequest()
        answers = await asyncio.gather(
            *(control.call("GetMetrics", request) for _, control in serving), return_exceptions=True
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
        """Have every worker read the configuration again. Each logs what becomes of it."""
        answers = await asyncio.gather(*(worker.reload() for worker in self._workers), return_exceptions=True)
        for worker, answer in zip(self._workers, answers, strict=True):
            if isinstance(answer, BaseException):
                _log.error("worker_not_reloaded", worker=worker.number, error=type(answer).__name__)

    async def _metrics(self) -> str:
        # In a thread: collecting asks the workers by way of this event loop.
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
            worker.kill()  # those that have not ended
        statuses = await asyncio.gather(*running)
        if hopeless:
            raise RuntimeError(f"no worker became ready ({ends}); their own messages say why")
        # SIGTERM ends a process that had not yet begun to listen to it.
        if unclean := [told(status) for status in statuses if status not in (0, -signal.SIGTERM)]:
            raise RuntimeError(f"workers did not drain: {', '.join(unclean)}")


def _is_ready(worker: Worker) -> bool:
    return not worker.unready
