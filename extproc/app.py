"""The composition root: builds every object from the settings, runs them, stops them in order."""

import asyncio
import contextlib
import signal
from pathlib import Path

import structlog

from extproc.authn.challenge import ProtectedResource
from extproc.authn.claims import ClaimValue
from extproc.authn.keys import KeySource, KeyStore, RefreshPolicy
from extproc.authn.origin import Origins
from extproc.authn.provider import Discovery, HttpDocuments, JwksFile, JwksUri, is_loopback
from extproc.authn.token import TokenLimits
from extproc.authn.verifier import TrustedIssuer, Verifier
from extproc.clock import Clock, system_clock
from extproc.config import Ceiling, Issuer, Refresh, RoleMapping, Settings
from extproc.credentials.aws_clock import AwsClock
from extproc.credentials.breaker import CircuitBreaker
from extproc.credentials.cache import CachePolicy, CredentialCache
from extproc.credentials.exchange import StsExchange
from extproc.credentials.revocation import DenyList, Revocation
from extproc.credentials.sessions import SessionCache
from extproc.credentials.sts import StsClient
from extproc.pipeline import Pipeline
from extproc.policy import ceilings
from extproc.policy.matchers import ClaimContains, Matcher, account_expression, cel_matcher, name_expression
from extproc.policy.rules import ChosenAccount, Policy, Rule
from extproc.server.admin import AdminServer
from extproc.server.grpc_server import GrpcServer
from extproc.signing.signer import Signer
from extproc.signing.targets import Target, TargetTable
from extproc.telemetry.metrics import Metrics
from extproc.values import ChainedRole

_log = structlog.get_logger(__name__)


def build_policy(settings: Settings) -> Policy:
    """The role mappings and ceilings as a policy."""
    return Policy(
        rules=[
            Rule(
                name=name,
                matcher=_matcher(mapping, settings.role_claim),
                role_arn=mapping.role_arn,
                priority=mapping.priority,
                chain=_chain(mapping),
                session_policy=mapping.session_policy,
                session_duration=mapping.session_duration,
                account=_account(mapping),
            )
            for name, mapping in zip(settings.mapping_names, settings.role_mappings, strict=True)
        ],
        ceilings=[
            ceilings.Ceiling(
                name=ceiling.name,
                matcher=_matcher(ceiling, settings.role_claim),
                priority=ceiling.priority,
                max_mapping=ceiling.max_mapping,
                session_policy=ceiling.session_policy,
            )
            for ceiling in settings.ceilings
        ],
        session_name=name_expression(settings.session_name) if settings.session_name else None,
        reject_session_names=settings.session_name_invalid == "reject",
        fallback_role_arn=settings.fallback_role_arn,
        session_name_claim=settings.session_name_claim,
        session_duration=settings.session_duration,
    )


def _matcher(entry: RoleMapping | Ceiling, role_claim: str) -> Matcher:
    if entry.claim is not None:
        return ClaimContains(claim=role_claim, value=entry.claim)
    return cel_matcher(entry.matcher or "")


def _chain(mapping: RoleMapping) -> ChainedRole | None:
    chain = mapping.chain
    return ChainedRole(chain.role_arn, chain.external_id) if chain else None


def _account(mapping: RoleMapping) -> ChosenAccount | None:
    chain = mapping.chain
    if chain is None or chain.account is None:
        return None
    return ChosenAccount(account_expression(chain.account), chain.role_arns)


def build_key_stores(settings: Settings, clock: Clock) -> dict[str, KeyStore]:
    """One key store an issuer, but for those whose tokens Envoy verifies."""
    documents = HttpDocuments()
    return {
        issuer.issuer: KeyStore(
            issuer=issuer.issuer,
            source=_key_source(issuer, documents),
            clock=clock,
            refresh=_refresh_policy(issuer.refresh or settings.refresh),
        )
        for issuer in settings.issuers
        if issuer.verified_by == "extproc"
    }


def _refresh_policy(refresh: Refresh) -> RefreshPolicy:
    return RefreshPolicy(
        interval=refresh.interval,
        shortest=refresh.shortest,
        longest=refresh.longest,
        cooldown=refresh.cooldown,
        max_staleness=refresh.max_staleness,
    )


def _key_source(issuer: Issuer, documents: HttpDocuments) -> KeySource:
    if issuer.jwks_file:
        return JwksFile(Path(issuer.jwks_file))
    allow_http = issuer.allow_insecure_http or is_loopback(issuer.issuer)
    if issuer.jwks_uri:
        allow_http = issuer.allow_insecure_http or is_loopback(issuer.jwks_uri)
        return JwksUri(uri=issuer.jwks_uri, documents=documents, allow_http=allow_http)
    return Discovery(issuer=issuer.issuer, documents=documents, allow_http=allow_http)


def build_verifier(settings: Settings, stores: dict[str, KeyStore], clock: Clock) -> Verifier:
    """The verifier of all configured issuers."""
    return Verifier(
        issuers=[
            TrustedIssuer(
                issuer=issuer.issuer,
                audiences=frozenset(issuer.audiences),
                algorithms=frozenset(issuer.algorithms),
                token_types=frozenset(token_type.lower() for token_type in issuer.token_types),
                leeway=issuer.leeway,
                keys=stores.get(issuer.issuer),
                required_claims={
                    name: _values(required) for name, required in issuer.required_claims.items()
                },
                required_scopes=tuple(issuer.required_scopes),
                exchange_header=issuer.sts_token_header,
                exchange_audiences=frozenset(issuer.sts_token_audiences or issuer.audiences),
            )
            for issuer in settings.issuers
        ],
        clock=clock,
        limits=TokenLimits(
            size=settings.limits.token_bytes,
            nesting=settings.limits.claims_depth,
            values=settings.limits.claims_values,
        ),
    )


def _values(required: ClaimValue | list[ClaimValue]) -> tuple[ClaimValue, ...]:
    return tuple(required) if isinstance(required, list) else (required,)


def build_resource(settings: Settings) -> ProtectedResource:
    """The resource as clients see it, with the scopes of all issuers."""
    scopes = [scope for issuer in settings.issuers for scope in issuer.required_scopes]
    return ProtectedResource(
        url=settings.resource.url,
        authorization_servers=[issuer.issuer for issuer in settings.issuers],
        name=settings.resource.name,
        scopes=list(dict.fromkeys(scopes)),
    )


def build_targets(settings: Settings) -> TargetTable:
    """The targets by name, prefix and host."""
    return TargetTable(
        [
            Target(
                name=target.name,
                host=target.host,
                scope=target.scope,
                payload=target.payload_mode,
                prefix=target.prefix,
                sign_headers=frozenset(target.sign_headers),
                default_aws_region=target.default_aws_region,
            )
            for target in settings.targets
        ]
    )


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
        server = GrpcServer(
            addresses=[self._settings.listen.grpc],
            pipeline=lambda: self._pipeline,
            max_body_bytes=self._settings.limits.request_body_bytes,
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
            await stopped.wait()
            _log.info("draining", seconds=self._settings.drain_seconds)
            self._draining = True
            readiness.cancel()
            await server.stop(grace=self._settings.drain_seconds)
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

    async def _follow_readiness(self, server: GrpcServer) -> None:
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
