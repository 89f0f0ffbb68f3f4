"""The admin API of one process: shows what is running, revokes and reloads.

No answer holds a token or a secret.
"""

import asyncio
import hashlib
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import structlog
from prometheus_client import generate_latest

from extproc import config
from extproc.admin import messages
from extproc.admin.errors import RefusedError
from extproc.admin.messages import duration, timestamp
from extproc.admin.v1 import admin_pb2
from extproc.app import comparing
from extproc.app.process_state import ProcessState
from extproc.app.reload import Reloader
from extproc.app.shadow import Candidate, SeenDifference, candidate_of
from extproc.authn.keys import KeyStore
from extproc.config import ConfigError, Settings
from extproc.grpc_server import clients
from extproc.policy_diff.outcome import Outcome
from extproc.sessions.revocation import Selector
from extproc.sessions.session import Granted, LiveCredentials, Session
from extproc.shared_store.patience import UnavailableError
from extproc.shared_store.revocations import Confirmation

_ID_BYTES = 8

_log = structlog.get_logger(__name__)


class AdminService:
    """The methods of the admin API. What changes something is logged, with the caller and the outcome.

    Raises ``RefusedError`` for a request that cannot be acted on.

    Args:
        unready: returns why the process should get no traffic; an empty list if it should.
        degraded: returns what is wrong although it may be ready.
        worker: the process's number; 0 without worker processes.
    """

    def __init__(
        self,
        *,
        state: ProcessState,
        reloader: Reloader,
        unready: Callable[[], list[str]],
        degraded: Callable[[], list[str]],
        worker: int = 0,
    ) -> None:
        self._state = state
        self._reloader = reloader
        self._unready = unready
        self._degraded = degraded
        self._worker = worker
        self._started_at = state.clock()
        # Sessions are kept by their tokens' digests. Digests stay in the process: an id is a hash
        # of one under a key that only this object has.
        self._id_key = secrets.token_bytes(32)

    async def GetStatus(
        self, _request: admin_pb2.GetStatusRequest, _context: Any
    ) -> admin_pb2.GetStatusResponse:
        """Return the status of this process."""
        state, running = self._state, self._reloader.current
        now, unready = state.clock(), self._unready()
        status = admin_pb2.WorkerStatus(
            worker=self._worker,
            pid=os.getpid(),
            version=version("extproc-sigv4"),
            started_at=timestamp(self._started_at),
            uptime=duration(now - self._started_at),
            ready=not unready,
            reasons=unready,
            degraded=self._degraded(),
            configuration=admin_pb2.Configuration(
                digest=_digest(running.settings),
                loaded_at=timestamp(running.loaded_at),
                problems=self._reloader.problems,
            ),
            sessions=len(state.sessions),
            credentials=state.sessions.credentials,
            revocations=len(state.deny_list),
            exchanges_waiting=state.exchange.waiting,
            breaker=f"BREAKER_STATE_{state.breaker.state.name}",
            clock_offset=duration(state.aws_clock.offset),
            key_sets=[_key_set(issuer, store, now) for issuer, store in running.key_stores.items()],
        )
        return admin_pb2.GetStatusResponse(workers=[status])

    async def ListSessions(
        self, request: admin_pb2.ListSessionsRequest, _context: Any
    ) -> admin_pb2.ListSessionsResponse:
        """Return one page of sessions."""

        def listed() -> admin_pb2.ListSessionsResponse:
            found = self._find(messages.selector(request))
            ids, next_page_token = messages.page(request, found)
            return admin_pb2.ListSessionsResponse(
                sessions=[self._session(each, found[each]) for each in ids], next_page_token=next_page_token
            )

        # In a thread: there may be many.
        return await asyncio.to_thread(listed)

    def _find(self, selector: Selector) -> dict[str, Session]:
        """Return the selected sessions by their ids. For any thread."""
        sessions = self._state.sessions.values()
        return {self._id(session): session for session in sessions if selector.matches(session)}

    def _id(self, session: Session) -> str:
        return hashlib.blake2b(session.digest, key=self._id_key, digest_size=_ID_BYTES).hexdigest()

    def _session(self, session_id: str, session: Session) -> admin_pb2.Session:
        identity = session.identity
        return admin_pb2.Session(
            id=session_id,
            worker=self._worker,
            issuer=identity.issuer,
            subject=identity.subject,
            jti=identity.token_id,
            token_expires_at=timestamp(identity.expires_at),
            credentials=[_credentials(granted, live) for granted, live in session.living()],
        )

    async def Explain(self, request: admin_pb2.ExplainRequest, _context: Any) -> admin_pb2.ExplainResponse:
        """Decide claims, a session's claims or a token, by the policy and the deny list that are running."""
        # Imported when it is first asked for: a start need not wait for it.
        from extproc.explain.errors import BadInputError  # noqa: PLC0415
        from extproc.explain.facts import facts  # noqa: PLC0415
        from extproc.explain.run import Environment, explain_claims, explain_token  # noqa: PLC0415

        given = [request.HasField("claims"), request.HasField("session"), bool(request.unverified_token)]
        if sum(given) != 1:
            raise RefusedError("exactly one of claims, session and unverified_token is required")
        asked = messages.json_of(request.request, "request") if request.HasField("request") else None
        running = self._reloader.current
        environment = Environment(
            running.settings,
            running.policy,
            running.targets,
            running.verifier,
            self._state.deny_list,
            self._state.clock,
            why_not=request.why_not or None,
        )
        answer = admin_pb2.ExplainResponse()
        try:
            if request.unverified_token:
                explanation = await explain_token(environment, request.unverified_token, asked)
            else:
                explanation = await explain_claims(environment, await self._claims(request), asked)
            answer.explanation.update(facts(explanation))
        except BadInputError as error:
            raise RefusedError(str(error)) from None
        return answer

    async def _claims(self, request: admin_pb2.ExplainRequest) -> bytes:
        """Return the claims to explain, as JSON."""
        if request.HasField("claims"):
            return messages.json_of(request.claims, "claims")
        return json.dumps((await self._living(request.session)).identity.claims).encode()

    async def _living(self, reference: admin_pb2.SessionReference) -> Session:
        """Return the session that a reference names.

        Raises:
            RefusedError: there is none, or none any more.
        """
        # In a thread: there may be many.
        session = (await asyncio.to_thread(self._find, Selector())).get(reference.id)
        if session is None or reference.worker != self._worker:
            raise RefusedError("session: is not there, or has ended")
        return session

    async def GetSession(
        self, request: admin_pb2.GetSessionRequest, _context: Any
    ) -> admin_pb2.GetSessionResponse:
        """Return a session and the claims of its token."""
        session = await self._living(request.session)
        answer = admin_pb2.GetSessionResponse(session=self._session(request.session.id, session))
        claims: dict[str, Any] = dict(session.identity.claims)
        answer.claims.update(claims)
        return answer

    async def ListDecisions(
        self, request: admin_pb2.ListDecisionsRequest, _context: Any
    ) -> admin_pb2.ListDecisionsResponse:
        """Return recent events of the audit log."""
        audit = self._state.audit
        if audit is None or audit.recent is None:
            raise RefusedError("no decisions are kept: audit.output is null")
        try:
            page = await asyncio.to_thread(
                audit.recent.page, request.cursor, messages.decisions_limit(request)
            )
        except ValueError as error:
            raise RefusedError(str(error)) from None
        return admin_pb2.ListDecisionsResponse(
            events=page.lines, next_cursor=page.next_cursor, more=page.more, missed=page.missed
        )

    async def Revoke(self, request: admin_pb2.RevokeRequest, context: Any) -> admin_pb2.RevokeResponse:
        """End the selected sessions, and refuse their owners for a while."""
        selector = messages.selector(request)
        if selector == Selector():
            raise RefusedError("at least one of issuer, subject, jti and role_arn is required")
        shared = self._state.shared_store
        if request.repeats and shared is not None and shared.revocations.table.get(selector).is_lifted:
            return admin_pb2.RevokeResponse()  # by another replica, since it was made
        seconds = messages.refuse_for(request)
        until = self._state.clock() + seconds if seconds > 0 else None
        try:
            done = self._state.revocation.revoke(selector, deny_until=until)
        except ValueError as error:
            raise RefusedError(str(error)) from None
        _log.warning(
            "admin_revoked",
            issuer=selector.issuer,
            subject=selector.subject,
            jti=selector.token_id,
            role_arn=selector.role_arn,
            refused_for=seconds,
            sessions=done.sessions,
            credentials=done.credentials,
            **_caller(context),
        )
        return admin_pb2.RevokeResponse(
            sessions=done.sessions,
            credentials=done.credentials,
            refused_until=None if until is None else timestamp(until),
            role_policy=done.role_policy,
            shared=None
            if shared is None or request.repeats
            else await _shared(shared.revocations.announce(selector, deny_until=until)),
        )

    async def ListRevocations(
        self, _request: admin_pb2.ListRevocationsRequest, _context: Any
    ) -> admin_pb2.ListRevocationsResponse:
        """Return the entries of the deny list."""
        return admin_pb2.ListRevocationsResponse(
            revocations=[
                admin_pb2.Revocation(
                    issuer=selector.issuer,
                    subject=selector.subject,
                    jti=selector.token_id,
                    refused_until=timestamp(until),
                )
                for selector, until in self._state.deny_list.entries()
            ]
        )

    async def LiftRevocation(
        self, request: admin_pb2.LiftRevocationRequest, context: Any
    ) -> admin_pb2.LiftRevocationResponse:
        """Remove an entry of the deny list."""
        selector = messages.selector(request)
        try:
            lifted = self._state.deny_list.remove(selector)
        except ValueError as error:
            raise RefusedError(str(error)) from None
        _log.warning(
            "admin_revocation_lifted",
            issuer=selector.issuer,
            subject=selector.subject,
            jti=selector.token_id,
            lifted=lifted,
            **_caller(context),
        )
        shared = self._state.shared_store
        return admin_pb2.LiftRevocationResponse(
            lifted=lifted,
            shared=None if shared is None else await _shared(shared.revocations.take_back(selector)),
        )

    async def Reload(self, _request: admin_pb2.ReloadRequest, context: Any) -> admin_pb2.ReloadResponse:
        """Read the configuration again; return the problems for which it was refused, if any."""
        problems = await self._reloader.reload()
        _log.warning("admin_reloaded", problems=len(problems), **_caller(context))
        return admin_pb2.ReloadResponse(problems=problems)

    async def GetShadow(
        self, _request: admin_pb2.GetShadowRequest, _context: Any
    ) -> admin_pb2.GetShadowResponse:
        """Return the shadow decisions since the candidate was loaded."""
        shadow = self._state.shadow
        candidate = shadow.candidate
        counts, seen = shadow.summary()
        return admin_pb2.GetShadowResponse(
            path=candidate.path if candidate else self._reloader.current.settings.shadow,
            loaded_at=timestamp(candidate.loaded_at) if candidate else None,
            problems=shadow.problems,
            decisions=counts,
            differences=map(_difference, seen),
        )

    async def CompareSessions(
        self, request: admin_pb2.CompareSessionsRequest, context: Any
    ) -> admin_pb2.CompareSessionsResponse:
        """Decide the open sessions under another configuration."""
        if not request.configuration:
            raise RefusedError("configuration: required")
        running, sessions = self._reloader.current, self._state.sessions.values()

        def compare() -> tuple[Candidate, comparing.Comparison]:
            wanted = config.parse(request.configuration)
            limit = running.settings.limits.policy_cost
            now = self._state.clock()
            candidate = candidate_of(wanted, "", limit, now)
            return candidate, comparing.compared(running.policy, candidate, sessions, now)

        try:
            candidate, found = await asyncio.to_thread(compare)
        except ConfigError as error:
            raise RefusedError("\n".join(f"configuration: {problem}" for problem in error.problems)) from None
        _log.warning("admin_sessions_compared", sessions=found.decided, **_caller(context))
        policies = (running.policy, candidate.policy)
        return admin_pb2.CompareSessionsResponse(
            sessions=found.decided,
            open_sessions=len(sessions),
            reads_request=any(policy.request_reads for policy in policies),
            differences=map(_difference, found.differences),
        )

    async def GetMetrics(
        self, _request: admin_pb2.GetMetricsRequest, _context: Any
    ) -> admin_pb2.GetMetricsResponse:
        """Return the metrics in Prometheus's text format."""
        return admin_pb2.GetMetricsResponse(text=generate_latest(self._state.metrics.registry).decode())


async def _shared(announced: Awaitable[Confirmation]) -> admin_pb2.Shared:
    """Return the effect of an announcement on other replicas."""
    try:
        confirmation = await announced
    except UnavailableError as error:
        _log.error("revocation_not_shared", why=str(error))
        return admin_pb2.Shared(problem=str(error))
    return admin_pb2.Shared(replicas=confirmation.replicas, confirmed=confirmation.confirmed)


def _difference(seen: SeenDifference) -> admin_pb2.DecisionDifference:
    return admin_pb2.DecisionDifference(
        before=_outcome(seen.before),
        after=_outcome(seen.after),
        kind=seen.comparison.kind.value,
        gives_more=seen.comparison.gives_more,
        what=seen.comparison.what,
        count=seen.count,
        last_at=timestamp(seen.last_at) if seen.last_at else None,
    )


def _outcome(outcome: Outcome) -> admin_pb2.DecisionOutcome:
    return admin_pb2.DecisionOutcome(role=outcome.role, mapping=outcome.mapping, denied=outcome.denied)


def _caller(context: Any) -> dict[str, Any]:
    """Return the caller's address and, over mTLS, the names in its certificate."""
    return {"peer": context.peer(), "names": clients.names(context.auth_context())}


def _digest(settings: Settings) -> str:
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()


def _key_set(issuer: str, store: KeyStore, now: float) -> admin_pb2.KeySet:
    keys = store.current()
    fetched = store.fetched_at > 0
    return admin_pb2.KeySet(
        issuer=issuer,
        usable=keys is not None,
        keys=len(keys.keys) if keys else 0,
        fetched_at=timestamp(store.fetched_at) if fetched else None,
        age=duration(now - store.fetched_at) if fetched else None,
        failure=store.failure,
    )


def _credentials(granted: Granted, live: LiveCredentials) -> admin_pb2.Credentials:
    grant = granted.grant
    return admin_pb2.Credentials(
        mapping=grant.mapping,
        role_arn=grant.role_arn,
        chained_role_arn=grant.chain.role_arn if grant.chain else None,
        session_name=grant.session_name,
        access_key_id=live.credentials.access_key_id,
        obtained_at=timestamp(live.obtained_at),
        expires_at=timestamp(live.credentials.expires_at),
        last_used_at=timestamp(live.used_at),
    )
