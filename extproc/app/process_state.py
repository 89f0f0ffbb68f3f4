"""The state that outlives every reload: sessions, credentials, the STS client, clocks, metrics."""

from typing import TYPE_CHECKING

from extproc.app.observation import build_audit, build_tracer
from extproc.app.shadow import Shadow
from extproc.app.sts_client import build_sts
from extproc.clock import Clock
from extproc.config import Settings
from extproc.fairness.stream_slots import StreamSlots
from extproc.request.pipeline import Lasting
from extproc.sessions.credentials import CredentialPolicy, CredentialStore
from extproc.sessions.revocation import DenyList, Revocation
from extproc.sessions.table import SessionTable
from extproc.signing.signer import Signer
from extproc.sts.aws_clock import AwsClock
from extproc.sts.breaker import CircuitBreaker
from extproc.sts.exchange import EXCHANGE_OUTCOMES, Sts, StsExchange
from extproc.sts.guarded import CallLimits
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.observer import Observer
from extproc.token_exchange.errors import TOKEN_EXCHANGE_OUTCOMES
from extproc.token_exchange.exchange import TokenExchanges

if TYPE_CHECKING:
    from extproc.shared_store.store import SharedStore


class ProcessState:
    """Built once, from the settings at the start; ``app.changes`` lists those that it fixes.

    ``sts`` replaces the client for the endpoint in the settings.
    """

    def __init__(self, settings: Settings, *, clock: Clock, sts: Sts | None = None) -> None:
        self.clock = clock
        self.metrics = Metrics(
            exchange_outcomes=EXCHANGE_OUTCOMES, token_exchange_outcomes=TOKEN_EXCHANGE_OUTCOMES
        )
        self.audit = build_audit(settings)
        self.tracer = build_tracer(settings)
        self.observer = Observer(
            metrics=self.metrics,
            audit=self.audit,
            sample_allows=settings.audit.sample_allows,
            tracer=self.tracer,
        )
        self.aws_clock = AwsClock(system=clock)
        self.signer = Signer(self.aws_clock)
        self.breaker = CircuitBreaker(
            failures=settings.sts.breaker_failures, open_for=settings.sts.breaker_seconds, clock=clock
        )
        self.exchange = StsExchange(
            sts=sts or build_sts(settings, clock=self.aws_clock, on_date=self.aws_clock.observe),
            breaker=self.breaker,
            limits=CallLimits(
                deadline=settings.sts.deadline,
                workers=settings.sts.workers,
                max_waiting=settings.sts.max_waiting,
                max_of_one=settings.sts.max_waiting_per_subject,
            ),
            on_outcome=self.metrics.exchanged,
            on_refusal=self.metrics.exchange_refused,
        )
        self.token_exchanges = TokenExchanges(clock=self.aws_clock, on_unusable=self.metrics.token_exchanged)
        """Exchanges at identity providers. ``Reloader`` has it go by each new configuration."""
        self.slots = StreamSlots()
        """Open requests by target. ``Reloader`` has it go by each new configuration."""
        self.sessions = SessionTable(max_entries=settings.limits.sessions, clock=self.aws_clock)
        self.deny_list = DenyList(clock=clock)
        self.revocation = Revocation(sessions=self.sessions, deny_list=self.deny_list, clock=clock)
        self.shared_store = self._shared_store(settings)
        self.credentials = CredentialStore(
            sessions=self.sessions,
            exchange=self.exchange,
            token_exchange=self.token_exchanges,
            clock=self.aws_clock,
            sharing=self.shared_store.sharing if self.shared_store is not None else None,
            policy=CredentialPolicy(
                max_entries=settings.limits.sessions,
                margin=settings.cache.margin,
                negative_ttl=settings.cache.negative_ttl,
                reuse_by_identity=settings.cache.reuse == "identity",
            ),
        )
        self.shadow = Shadow(clock=clock, on_outcome=self.metrics.shadow_decided)
        self.lasting = Lasting(
            sessions=self.sessions,
            credentials=self.credentials,
            deny_list=self.deny_list,
            signer=self.signer,
            slots=self.slots,
            observer=self.observer,
            metrics=self.metrics,
            on_new_decision=self.shadow.submit,
        )
        """What the pipelines of all configurations share."""

    def _shared_store(self, settings: Settings) -> "SharedStore | None":
        if settings.cache.shared is None:
            return None
        from extproc.app.shared_store import build_shared_store  # noqa: PLC0415 - most servers do without

        return build_shared_store(
            settings, revocation=self.revocation, deny_list=self.deny_list, clock=self.aws_clock
        )
