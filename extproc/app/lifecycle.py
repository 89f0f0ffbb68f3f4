"""The life of a server: builds every object from the settings, runs them, stops them in order."""

import asyncio
import contextlib
import signal

import structlog

from extproc.app.listeners import build_transport
from extproc.app.rooms import build_key_stores, build_policy, build_resource, build_targets, build_verifier
from extproc.authn.keys import RefreshPolicy
from extproc.authn.origin import Origins
from extproc.clock import Clock, system_clock
from extproc.config import Settings
from extproc.credentials.aws_clock import AwsClock
from extproc.credentials.breaker import CircuitBreaker
from extproc.credentials.cache import CachePolicy, CredentialCache
from extproc.credentials.exchange import StsExchange
from extproc.credentials.revocation import DenyList, Revocation
from extproc.credentials.sessions import SessionCache
from extproc.credentials.sts import StsClient
from extproc.pipeline import Pipeline
from extproc.server import engine
from extproc.server.admin import AdminServer
from extproc.signing.signer import Signer
from extproc.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)


class App:
    """A running server. Build it inside the event loop that runs it."""

    def __init__(self, settings: Settings, *, clock: Clock = system_clock) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._key_stores = build_key_stores(settings, clock)
        self._aws_clock = AwsClock(system=clock)
        self._breaker = CircuitBreaker(
            failures=settings.sts.breaker_failures, open_for=settings.sts.breaker_seconds, clock=clock
        )
        self._exchange = StsExchange(
            sts=StsClient(
                region=settings.sts.region or settings.targets[0].scope.region,
                endpoint_url=settings.sts.endpoint_url,
                timeout=settings.sts.timeout,
                connections=settings.sts.workers,
                on_date=self._aws_clock.observe,
            ),
            breaker=self._breaker,
            deadline=settings.sts.deadline,
            workers=settings.sts.workers,
            max_waiting=settings.sts.max_waiting,
            on_outcome=self._metrics.exchanged,
        )
        self._sessions = SessionCache(max_sessions=settings.limits.sessions, clock=clock)
        self._credentials = CredentialCache(
            exchange=self._exchange,
            clock=self._aws_clock,
            policy=CachePolicy(
                max_entries=settings.limits.sessions,
                margin=settings.cache.margin,
                negative_ttl=settings.cache.negative_ttl,
                reuse_by_identity=settings.cache.reuse == "identity",
            ),
        )
        self._revocation = Revocation(
            sessions=self._sessions,
            credentials=self._credentials,
            deny_list=DenyList(clock=clock),
            clock=clock,
        )
        self._metrics.follow(
            sessions=lambda: len(self._sessions),
            breaker=lambda: self._breaker.state,
            clock_offset=lambda: self._aws_clock.offset,
            exchanges_waiting=lambda: self._exchange.waiting,
        )
        verifier = build_verifier(settings, self._key_stores, clock)
        self._pipeline = Pipeline(
            resource=build_resource(settings),
            origins=Origins(frozenset(settings.allowed_origins), request_headers=verifier.exchange_headers),
            targets=build_targets(settings),
            verifier=verifier,
            policy=build_policy(settings),
            sessions=self._sessions,
            credentials=self._credentials,
            revocation=self._revocation,
            deadline=settings.sts.deadline + RefreshPolicy().wait,
            signer=Signer(self._aws_clock),
            metrics=self._metrics,
            max_body_bytes=settings.limits.request_body_bytes,
            max_mcp_bytes=settings.limits.mcp_body_bytes,
            max_sessions=settings.limits.sessions,
            observes_upstream=settings.observe_upstream,
        )
        self._draining = False

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, stopped.set)
        transport = build_transport(self._settings)
        if (certificates := transport.certificates) is not None:
            self._metrics.follow_certificate(expires_at=certificates.expires_at, broken=certificates.broken)
        server = engine.build(
            self._settings.listen.engine, transport=transport, pipeline=lambda: self._pipeline
        )
        async with contextlib.AsyncExitStack() as cleanup:
            cleanup.callback(self._exchange.close)
            cleanup.callback(self._pipeline.close)
            admin = self._start_admin()
            if admin is not None:
                cleanup.push_async_callback(asyncio.to_thread, admin.stop)
            background = [store.keep_fresh() for store in self._key_stores.values()]
            for work in (*background, self._credentials.keep_fresh()):
                cleanup.callback(asyncio.create_task(work).cancel)
            await server.start()
            readiness = asyncio.create_task(self._follow_readiness(server))
            _log.info("listening", grpc=self._settings.listen.grpc, admin=self._settings.listen.admin)
            broken = asyncio.create_task(server.failed())
            cleanup.callback(broken.cancel)
            broken.add_done_callback(lambda _task: stopped.set())
            await stopped.wait()
            _log.info("draining", seconds=self._settings.drain_seconds)
            self._draining = True
            readiness.cancel()
            await server.stop(grace=self._settings.drain_seconds)
            if broken.done():
                raise RuntimeError("the gRPC engine has failed")
        _log.info("stopped")

    def unready(self) -> list[str]:
        """Why this instance should get no traffic; empty when it should."""
        if self._draining:
            return ["draining"]
        if any(store.current() for store in self._key_stores.values()):
            return []
        if len(self._key_stores) < len(self._settings.issuers):
            return []  # Envoy has the keys of the others
        return [
            f"no keys of {issuer}: {store.failure or 'not fetched yet'}"
            for issuer, store in self._key_stores.items()
        ]

    async def _follow_readiness(self, server: engine.Engine) -> None:
        """Keep gRPC health in step with ``unready``."""
        serving = False
        while True:
            ready = not self.unready()
            if ready != serving:
                await server.set_serving(serving=ready)
                serving = ready
            await asyncio.sleep(1.0 if serving else 0.05)

    def _start_admin(self) -> AdminServer | None:
        if self._settings.listen.admin is None:
            return None
        host, _, port = self._settings.listen.admin.rpartition(":")
        try:
            admin = AdminServer(
                host=host.strip("[]"), port=int(port), registry=self._metrics.registry, unready=self.unready
            )
        except OSError as error:
            raise OSError(f"listen.admin {self._settings.listen.admin}: {error.strerror}") from None
        admin.start()
        return admin
