"""The life of a server: builds every object from the settings, runs them and stops them in order."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from extproc.admin import listeners
from extproc.app import snapshot
from extproc.app.listeners import build_admin_transport, build_transport
from extproc.app.process_state import ProcessState
from extproc.app.reload import Reloader
from extproc.app.watch import changes
from extproc.clock import Clock, system_clock
from extproc.config import Settings
from extproc.grpc_server import engine
from extproc.head_memory.memory import KEPT_FOR
from extproc.telemetry.state import GaugeSources
from extproc.workers.control import ControlServer
from extproc.workers.lifeline import Lifeline
from extproc.workers.spec import ListenSlice, WorkerSpec

_log = structlog.get_logger(__name__)


class App:
    """A running server. Build it inside the event loop that runs it.

    Args:
        load: reads the configuration again; by default a reload changes nothing.
        files: the files that ``load`` reads; a change of one reloads.
        worker: what the supervisor has assigned, if this is a worker process.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        load: Callable[[], Settings] | None = None,
        files: Sequence[Path] = (),
        clock: Clock = system_clock,
        worker: WorkerSpec | None = None,
    ) -> None:
        self._listen = settings.listen
        self._files = files
        self._worker = worker
        self._state = ProcessState(settings, clock=clock)
        self._reloader = Reloader(
            first=snapshot.build(settings, self._state),
            state=self._state,
            load=load or (lambda: settings),
            workers=worker.workers if worker else 1,
        )
        self._state.metrics.follow(self._sources())
        self._listening = self._draining = False

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. SIGHUP reloads."""
        stopped, at_once, reload_requested = asyncio.Event(), asyncio.Event(), asyncio.Event()
        _handle_signals(stopped, at_once, reload_requested)
        settings = self._reloader.current.settings
        listen = self._worker.listen if self._worker else ListenSlice(tuple(self._listen.grpc_addresses))
        transport = build_transport(settings, addresses=listen.addresses, share_port=listen.shares_port)
        if (certificates := transport.certificates) is not None:
            self._state.metrics.follow_certificate(
                valid_between=certificates.valid_between, broken=certificates.broken
            )
        async with contextlib.AsyncExitStack() as cleanup:
            # Closed in reverse order: traces and audit log also get the decisions made while draining.
            if self._state.tracer is not None:
                cleanup.push_async_callback(asyncio.to_thread, self._state.tracer.close)
            if self._state.audit is not None:
                self._state.audit.start()
                cleanup.push_async_callback(asyncio.to_thread, self._state.audit.close)
            cleanup.callback(self._state.exchange.close)
            cleanup.callback(self._state.token_exchanges.close)
            cleanup.callback(self._reloader.close)
            if self._worker is None:  # with workers, the supervisor serves operators
                await cleanup.enter_async_context(
                    listeners.serving(
                        self._admin_service,
                        http=self._listen.admin,
                        grpc=build_admin_transport(settings),
                        registry=self._state.metrics.registry,
                        unready=self.unready,
                        degraded=self.degraded,
                    )
                )
            if self._state.shared_store is not None:
                cleanup.push_async_callback(self._state.shared_store.close)
                await self._state.shared_store.start()
            self._reloader.start()
            for work in (
                self._state.credentials.keep_fresh(),
                self._forget_idle_heads(),
                self._request_reload_on_change(reload_requested),
                self._reload_when_requested(reload_requested),
            ):
                cleanup.callback(asyncio.create_task(work).cancel)
            if self._worker is not None and not await self._may_serve(self._worker, stopped, cleanup):
                return
            server = engine.build(
                self._listen.engine, transport=transport, pipeline=lambda: self._reloader.current.pipeline
            )
            await server.start()
            self._listening = True
            readiness = asyncio.create_task(self._follow_readiness(server))
            _log.info(
                "listening",
                grpc=listen.addresses,
                admin=self._listen.admin,
                admin_grpc=self._listen.admin_grpc,
            )
            broken = asyncio.create_task(server.failed())
            cleanup.callback(broken.cancel)
            broken.add_done_callback(lambda _task: stopped.set())
            await stopped.wait()
            self._draining = True
            readiness.cancel()
            await self._drain(server, at_once)
            if broken.done():
                raise RuntimeError("the gRPC engine has failed")
        _log.info("stopped")

    async def _forget_idle_heads(self) -> None:
        while True:
            await asyncio.sleep(KEPT_FOR)
            self._reloader.current.pipeline.heads.forget_idle()

    async def _drain(self, server: engine.Engine, at_once: asyncio.Event) -> None:
        """Report NOT_SERVING, serve on until clients have noticed, then let open streams finish."""
        settings = self._reloader.current.settings
        _log.info("draining", delay=settings.drain_delay_seconds, seconds=settings.drain_seconds)
        await server.set_serving(serving=False)
        hurry = asyncio.create_task(at_once.wait())
        await asyncio.wait({hurry}, timeout=settings.drain_delay_seconds)
        stopping = asyncio.create_task(server.stop(grace=0 if hurry.done() else settings.drain_seconds))
        await asyncio.wait({stopping, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            await server.stop(grace=0)
        await stopping
        hurry.cancel()

    async def _may_serve(
        self, worker: WorkerSpec, stopped: asyncio.Event, cleanup: contextlib.AsyncExitStack
    ) -> bool:
        """Answer the supervisor, and wait until it allows serving; return false if stopped before."""
        await cleanup.enter_async_context(
            ControlServer(self._admin_service(worker=worker.number), worker.control)
        )
        return await Lifeline(worker.lifeline, stopped).may_serve()

    def _sources(self) -> GaugeSources:
        """Return what metrics read present values from."""
        state = self._state
        audit, sessions = state.audit, state.sessions
        return GaugeSources(
            ready=lambda: not self.unready(),
            entries={"sessions": lambda: len(sessions), "credentials": lambda: sessions.credentials},
            evictions={
                "sessions": lambda: sessions.evictions,
                "credentials": lambda: sessions.evicted_credentials,
            },
            refreshes=lambda: state.credentials.renewals,
            breaker=lambda: state.breaker.state,
            token_exchange_breakers=lambda: state.token_exchanges.breakers,
            token_exchanges_waiting=lambda: state.token_exchanges.waiting,
            clock_offset=lambda: state.aws_clock.offset,
            slots=state.slots.counts,
            exchanges_waiting=lambda: state.exchange.waiting,
            jwks_ages=lambda: {
                issuer: store.age for issuer, store in self._reloader.current.key_stores.items()
            },
            audit_queued=lambda: len(audit) if audit is not None else 0,
            audit_events=lambda: audit.outcomes if audit is not None else {},
            waits_for_restart=lambda: self._reloader.waits_for_restart,
            shared_store=state.shared_store.counts if state.shared_store is not None else None,
        )

    def unready(self) -> list[str]:
        """Return why this instance should get no traffic; an empty list if it should."""
        if self._draining:
            return ["draining"]
        if not self._listening:
            return ["starting"]
        stores = self._reloader.current.key_stores
        if any(store.current() for store in stores.values()):
            return []
        if len(stores) < len(self._reloader.current.settings.issuers):
            return []  # Envoy verifies the tokens of the other issuers
        return self._without_keys()

    def degraded(self) -> list[str]:
        """Return what is wrong although this instance can take traffic."""
        shared_store = self._state.shared_store
        return [
            *self._reloader.degraded,
            *self._without_keys(),
            *(shared_store.degraded() if shared_store is not None else ()),
        ]

    def _without_keys(self) -> list[str]:
        return [
            f"no keys of {issuer}: {store.failure or 'not fetched yet'}"
            for issuer, store in self._reloader.current.key_stores.items()
            if store.current() is None
        ]

    async def _reload_when_requested(self, requested: asyncio.Event) -> None:
        while True:
            await requested.wait()
            requested.clear()
            await self._reloader.reload()

    async def _request_reload_on_change(self, requested: asyncio.Event) -> None:
        async for _ in changes(lambda: [*self._files, *self._reloader.watched]):
            requested.set()

    async def _follow_readiness(self, server: engine.Engine) -> None:
        """Keep the status of gRPC health equal to ``unready``."""
        serving = False
        while True:
            ready = not self.unready()
            if ready != serving:
                await server.set_serving(serving=ready)
                serving = ready
            await asyncio.sleep(1.0 if serving else 0.05)

    def _admin_service(self, *, worker: int = 0) -> object:
        """Return what answers the admin API's methods; imported when it is served."""
        from extproc.app.admin_service import AdminService  # noqa: PLC0415

        return AdminService(
            state=self._state,
            reloader=self._reloader,
            unready=self.unready,
            degraded=self.degraded,
            worker=worker,
        )


def _handle_signals(stopped: asyncio.Event, at_once: asyncio.Event, reload_requested: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT stop the server, a second one at once, and SIGHUP reload."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        (at_once if stopped.is_set() else stopped).set()

    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop)
    loop.add_signal_handler(signal.SIGHUP, reload_requested.set)
