"""A running process as the admin API sees it: looks into the rooms, and changes nothing but by revoking."""

import hashlib
import os
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from extproc.admin.operations import (
    ConfigurationStatus,
    CredentialsView,
    KeySetStatus,
    RefusedError,
    Revocation,
    SessionView,
    Status,
)
from extproc.app.process_state import ProcessState
from extproc.app.reload import Reloader
from extproc.authn.keys import KeyStore
from extproc.authn.verifier import Verifier
from extproc.clock import Clock
from extproc.config import Settings
from extproc.explain.errors import BadInputError
from extproc.explain.facts import facts
from extproc.explain.run import Environment, explain_claims
from extproc.policy.rules import Policy
from extproc.sessions import revocation
from extproc.sessions.cache import CredentialCache, Entry
from extproc.sessions.revocation import Selector
from extproc.sessions.sessions import SessionCache
from extproc.signing.targets import TargetTable
from extproc.sts.aws_clock import AwsClock
from extproc.sts.breaker import CircuitBreaker
from extproc.sts.exchange import StsExchange
from extproc.values import Session, TokenDigest

_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Running:
    """The configuration that is running, and what was built from it."""

    settings: Settings
    policy: Policy
    targets: TargetTable
    verifier: Verifier
    key_stores: Mapping[str, KeyStore]
    loaded_at: float
    problems: tuple[str, ...] = ()  # why a later one was refused


class AppOperations:
    """``adminapi.Operations`` of this process. What can change is asked for anew each time."""

    def __init__(
        self,
        *,
        running: Callable[[], Running],
        unready: Callable[[], list[str]],
        degraded: Callable[[], list[str]],
        reload: Callable[[], Awaitable[list[str]]],
        sessions: SessionCache,
        credentials: CredentialCache,
        revoker: revocation.Revocation,
        exchange: StsExchange,
        breaker: CircuitBreaker,
        aws_clock: AwsClock,
        registry: CollectorRegistry,
        clock: Clock,
        worker: int = 0,
    ) -> None:
        self._running = running
        self._unready = unready
        self._degraded = degraded
        self._reload = reload
        self._sessions = sessions
        self._credentials = credentials
        self._revoker = revoker
        self._exchange = exchange
        self._breaker = breaker
        self._aws_clock = aws_clock
        self._registry = registry
        self._clock = clock
        self._worker = worker
        self._started_at = clock()
        # A token's digest is what sessions are kept by, so it stays in; nobody else has this key.
        self._id_key = secrets.token_bytes(32)

    def status(self) -> Status:
        """How this process is."""
        running = self._running()
        return Status(
            worker=self._worker,
            pid=os.getpid(),
            version=version("extproc-sigv4"),
            now=self._clock(),
            started_at=self._started_at,
            unready=tuple(self._unready()),
            degraded=tuple(self._degraded()),
            configuration=ConfigurationStatus(_digest(running.settings), running.loaded_at, running.problems),
            sessions=len(self._sessions),
            credentials=len(self._credentials),
            revocations=self._revoker.entries,
            exchanges_waiting=self._exchange.waiting,
            breaker=self._breaker.state.name,
            clock_offset=self._aws_clock.offset,
            key_sets=tuple(_key_set(issuer, store) for issuer, store in running.key_stores.items()),
        )

    def sessions(self, selector: Selector) -> list[SessionView]:
        """The sessions that meet all conditions. For any thread."""
        held: defaultdict[TokenDigest, list[Entry]] = defaultdict(list)
        for entry in self._credentials.values():
            held[entry.session.digest].append(entry)
        return [
            self._view(session, held[session.digest])
            for session in self._sessions.values()
            if selector.matches_identity(session.identity)
            and (
                selector.role_arn is None
                or any(selector.matches(session, entry.grant) for entry in held[session.digest])
            )
        ]

    def _view(self, session: Session, held: list[Entry]) -> SessionView:
        identity = session.identity
        jti = identity.claims.get("jti")
        return SessionView(
            id=hashlib.blake2b(session.digest, key=self._id_key, digest_size=_ID_BYTES).hexdigest(),
            worker=self._worker,
            issuer=identity.issuer,
            subject=identity.subject,
            jti=jti if isinstance(jti, str) else None,
            expires_at=identity.expires_at,
            credentials=tuple(_credentials(entry) for entry in held),
        )

    async def explain(self, claims: bytes, request: bytes | None) -> Mapping[str, Any]:
        """What ``extproc explain --json`` prints, with the running configuration and deny list."""
        running = self._running()
        environment = Environment(
            running.settings,
            running.policy,
            running.targets,
            running.verifier,
            self._revoker,
            self._clock,
        )
        try:
            return facts(await explain_claims(environment, claims, request))
        except BadInputError as error:
            raise RefusedError(str(error)) from None

    def revoke(self, selector: Selector, *, refuse_for: float) -> Revocation:
        """End the selected sessions; refuse their owners for so many seconds, if more than zero."""
        until = self._clock() + refuse_for if refuse_for > 0 else None
        try:
            done = self._revoker.revoke(selector, deny_until=until)
        except ValueError as error:
            raise RefusedError(str(error)) from None
        return Revocation(done.sessions, done.credentials, until, done.role_policy)

    async def reload(self) -> list[str]:
        """Read the configuration again; the problems for which it was refused, if any."""
        return await self._reload()

    def metrics(self) -> str:
        """The metrics in Prometheus's text format."""
        return generate_latest(self._registry).decode()


def build(
    *,
    state: ProcessState,
    reloader: Reloader,
    unready: Callable[[], list[str]],
    degraded: Callable[[], list[str]],
    worker: int = 0,
) -> AppOperations:
    """The operations of a process with hot reload."""

    def running() -> Running:
        current = reloader.current
        return Running(
            current.settings,
            current.policy,
            current.targets,
            current.verifier,
            current.key_stores,
            current.loaded_at,
            tuple(reloader.problems),
        )

    return AppOperations(
        running=running,
        unready=unready,
        degraded=degraded,
        reload=reloader.reload,
        sessions=state.sessions,
        credentials=state.credentials,
        revoker=state.revocation,
        exchange=state.exchange,
        breaker=state.breaker,
        aws_clock=state.aws_clock,
        registry=state.metrics.registry,
        clock=state.clock,
        worker=worker,
    )


def _digest(settings: Settings) -> str:
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()


def _key_set(issuer: str, store: KeyStore) -> KeySetStatus:
    keys = store.current()
    return KeySetStatus(
        issuer=issuer,
        usable=keys is not None,
        keys=len(keys.keys) if keys else 0,
        fetched_at=store.fetched_at if store.fetched_at > 0 else None,
        failure=store.failure,
    )


def _credentials(entry: Entry) -> CredentialsView:
    grant = entry.grant
    return CredentialsView(
        mapping=grant.mapping,
        role_arn=grant.role_arn,
        chained_role_arn=grant.chain.role_arn if grant.chain else None,
        session_name=grant.session_name,
        access_key_id=entry.credentials.access_key_id,
        obtained_at=entry.obtained_at,
        expires_at=entry.credentials.expires_at,
        used_at=entry.used_at,
    )
