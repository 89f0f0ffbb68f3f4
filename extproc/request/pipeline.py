"""The straight way of one request: admit → read → authorize → allow; or deny.

    bearer token → Identity → Grant → Credentials → SignedHeaders
        authn        authn    policy   credentials     signing

``admit``, ``read``, ``recall``, ``allow`` and ``deny`` do no I/O and may be called from any thread.
``authorize`` is for a token not seen before, or whose credentials have ended, and belongs to the
event loop. Whoever drives this (``server.stream``) turns every exception into ``deny``.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

import structlog

from extproc.authn.bearer import bearer_token
from extproc.authn.challenge import ProtectedResource
from extproc.authn.origin import Origins
from extproc.authn.verifier import TokenVerifier
from extproc.caching.single_flight import SingleFlight
from extproc.errors import Denied, Reason
from extproc.fairness.stream_slots import Slot, StreamSlots
from extproc.head_memory.memory import HeadMemory
from extproc.policy.decisions import Decisions
from extproc.policy.inputs import Inputs
from extproc.policy.mcp import check_headers
from extproc.policy.mcp_envelope import UNKNOWN, Envelope, may_be_mcp, read_envelope
from extproc.policy.rules import Policy
from extproc.request.admission import Admission, AdmissionControl, stays
from extproc.request.header_limits import HeaderLimits, check_room
from extproc.request.held_back import HeldBack
from extproc.request.refusal import Denials
from extproc.request.response_sampling import AnswerWatch
from extproc.sessions.cache import CredentialSource, Entry
from extproc.sessions.revocation import RevocationCheck
from extproc.sessions.sessions import SessionCache, token_digest
from extproc.signing.payload import Payload, payload_of
from extproc.signing.rejections import Cause, UpstreamResponse, rejection
from extproc.signing.signer import Signer
from extproc.signing.targets import TargetTable
from extproc.telemetry.observer import DecisionObserver, Verdict
from extproc.telemetry.record import HIT, MISS, SESSION, RequestRecord
from extproc.values import (
    VOLATILE_HEADERS,
    Allow,
    Authorized,
    ImmediateResponse,
    RequestHead,
    Session,
    TokenDigest,
)

_MAX_RECENT = 4096
_MAX_PAUSING = 2048  # requests; a small part of the streams that Envoy may hold open

# What an operator may do about a refusal of AWS's.
_OF_SIGNATURES = "compare what was signed: extproc sign --compare"
_OF_CREDENTIALS = "is the region enabled in the account, and of its partition?"

_log = structlog.get_logger(__name__)


class Pipeline:
    """Decides requests under one configuration."""

    def __init__(
        self,
        *,
        resource: ProtectedResource,
        origins: Origins,
        targets: TargetTable,
        verifier: TokenVerifier,
        policy: Policy,
        sessions: SessionCache,
        credentials: CredentialSource,
        revocation: RevocationCheck,
        deadline: float,
        signer: Signer,
        observer: DecisionObserver,
        max_body_bytes: int,
        answers: AnswerWatch,
        slots: StreamSlots,
        max_mcp_bytes: int = 256 * 1024,
        header_limits: HeaderLimits | None = None,
        max_sessions: int = 10_000,
        pause: float = 1.0,
        denials: Denials | None = None,
        remember_heads: bool = True,
        check_one_head_in: int = 1000,
        on_policy_cost: Callable[[int], None] = lambda _cost: None,
        on_head_check: Callable[[bool], None] = lambda _same: None,
        on_answer: Callable[[str, str], None] = lambda _target, _refused: None,
    ) -> None:
        self._verifier = verifier
        self._sessions = sessions
        self._credentials = credentials
        self._revocation = revocation
        self._deadline = deadline
        self._decisions = Decisions(policy, max_sessions=max_sessions, on_cost=on_policy_cost)
        self._opening: SingleFlight[tuple[TokenDigest, bool], Session] = SingleFlight()
        self._authorizing: SingleFlight[tuple[TokenDigest, bool, tuple[object, ...]], Authorized] = (
            SingleFlight()
        )
        self._signer = signer
        self.observer = observer
        """Whom every decision is told to, before its answer leaves."""
        self._max_body_bytes = max_body_bytes
        self._admission = AdmissionControl(
            resource=resource,
            origins=origins,
            targets=targets,
            policy=policy,
            exchange_headers=verifier.exchange_headers,
            max_mcp_bytes=max_mcp_bytes,
            header_limits=header_limits or HeaderLimits(),
        )
        self.held_back = HeldBack(max_bytes=max_mcp_bytes)
        """Denials that wait for a body."""
        self._denials = denials or Denials(resource=resource, origins=origins)
        self._slots = slots
        self._retired = False
        self._pause_for = pause  # seconds
        self._pausing = 0
        # One lookup in the place of three, for who comes again within a moment.
        self._recent: WeakValueDictionary[tuple[TokenDigest, tuple[object, ...]], Entry] = (
            WeakValueDictionary()
        )
        self.heads = HeadMemory(
            # Nothing may read the values in which heads of one key differ.
            enabled=remember_heads
            and not (
                policy.reads_request
                or targets.sign_any(VOLATILE_HEADERS)
                or verifier.exchange_headers.intersection(VOLATILE_HEADERS)
            ),
            not_kept=frozenset({*VOLATILE_HEADERS, *verifier.exchange_headers, "authorization"}),
            check_one_in=check_one_head_in,
            on_check=on_head_check,
        )
        """What was made of heads that may come again."""
        self.reads_jwt_payload = verifier.reads_jwt_payload
        """Whether ``RequestHead.jwt_payload`` is looked at; reading it costs."""
        self._answers = answers
        self._on_answer = on_answer

    def retire(self) -> None:
        """Authorize nothing more: another configuration has counted for long enough."""
        self._retired = True

    def close(self) -> None:
        """Make no more decisions."""
        self._decisions.close()

    def admit(self, head: RequestHead) -> Admission | ImmediateResponse:
        """Check the request's head; see ``AdmissionControl.admit``.

        Raises:
            Denied: it is not to be decided at all.
        """
        return self._admission.admit(head)

    def is_open(self, admission: Admission) -> bool:
        """Whether the token is known. No I/O; from any thread."""
        return self._living_session(admission) is not None

    def open(self, admission: Admission, record: RequestRecord) -> asyncio.Future[Session]:
        """Verify the token before the body that decides is asked for. Await it shielded."""
        record.cache = MISS
        return self._opening.run(admission.flight, lambda: self._open(admission, record))

    def read(self, admission: Admission, body: bytes, record: RequestRecord) -> Inputs:
        """What the rules may read of the request; nothing, if they read claims only.

        Raises:
            Denied: ``BODY_TOO_LARGE`` or ``MCP_MALFORMED``.
        """
        inputs = self._admission.read(admission, body)
        if inputs.message is not None:
            record.mcp_method, record.mcp_name = inputs.message.method, inputs.message.name
        return inputs

    def recall(self, admission: Admission, inputs: Inputs, record: RequestRecord) -> Authorized | None:
        """Living credentials for the request at hand, if all about it is known. No I/O; from any thread.

        Raises:
            Denied: at once, if that is certain: MCP headers that differ, a remembered decision,
                a request that outlived its configuration.
        """
        if self._retired:
            raise Denied(Reason.CONFIGURATION_CHANGED, "began under a configuration that is long gone")
        if inputs.message is not None:
            check_headers(inputs.message, admission.head)
        key = record.decision_key = self._decisions.key(inputs)
        recent = self._recent.get((admission.digest, key))
        if (
            recent is not None
            and self._credentials.still_good(recent)
            and self._verifier.still_trusted(recent.session.identity, admission.head.jwt_payload)
        ):
            record.cache = record.cache or HIT
            return Authorized(recent.session, recent.grant, recent.credentials)
        session = self._living_session(admission)
        if session is None:
            record.cache = MISS
            return None
        grant = self._decisions.recall(session, key)
        found = self._credentials.find(session, grant) if grant is not None else None
        if grant is None or found is None:
            record.cache = record.cache or SESSION
            return None
        record.cache = record.cache or HIT
        if len(self._recent) >= _MAX_RECENT:
            self._recent.clear()
        self._recent[admission.digest, key] = found
        return Authorized(session, grant, found.credentials)

    def authorize(
        self, admission: Admission, inputs: Inputs, record: RequestRecord
    ) -> asyncio.Future[Authorized]:
        """Obtain what ``recall`` did not find, or join whoever does; await it shielded.

        The future raises ``Denied``. Whoever waits for it may leave without harm to others.
        """
        key = self._decisions.key(inputs)
        return self._authorizing.run(
            (*admission.flight, key), lambda: self._authorize(admission, inputs, key, record)
        )

    async def _authorize(
        self, admission: Admission, inputs: Inputs, key: tuple[object, ...], record: RequestRecord
    ) -> Authorized:
        session: Session | None = None
        try:
            async with asyncio.timeout(self._deadline):
                session = self._living_session(admission)
                if session is None:
                    opening = self._opening.run(admission.flight, lambda: self._open(admission, record))
                    session = await asyncio.shield(opening)
                try:
                    return await self._obtain(session, inputs, key, record)
                except Denied as denied:
                    if denied.reason is not Reason.USER_BUSY or self._pausing >= _MAX_PAUSING:
                        raise
                await self._pause()
                return await self._obtain(session, inputs, key, record)
        except TimeoutError:
            # STS is asked for known users only; of nobody else is a refusal to wait for a body.
            reason = Reason.KEYS_UNAVAILABLE if session is None else Reason.STS_UNAVAILABLE
            raise Denied(reason, f"not authorized within {self._deadline} s") from None

    async def _pause(self) -> None:
        """Wait before a user who has too much under way is asked for again, or refused.

        Many sessions opened at once then mostly succeed; and a client that tries again as soon as
        it is refused does not take the processor from others.
        """
        self._pausing += 1
        try:
            await asyncio.sleep(self._pause_for)
        finally:
            self._pausing -= 1

    async def _obtain(
        self, session: Session, inputs: Inputs, key: tuple[object, ...], record: RequestRecord
    ) -> Authorized:
        with record.stage("policy"):
            grant = await self._decisions.decide(session, inputs, key)
        credentials = self._credentials.get(session, grant)
        if credentials is None:
            with record.stage("exchange"):
                credentials = await asyncio.shield(self._credentials.obtain(session, grant))
        return Authorized(session, grant, credentials)

    def _living_session(self, admission: Admission) -> Session | None:
        session = self._sessions.get(admission.digest)
        if session is not None and not self._verifier.still_trusted(
            session.identity, admission.head.jwt_payload
        ):
            self._sessions.drop(admission.digest)
            return None
        return session

    async def _open(self, admission: Admission, record: RequestRecord) -> Session:
        unverified_token = admission.unverified_token
        with record.stage("verify"):
            identity = await self._verifier.verify(unverified_token, jwt_payload=admission.head.jwt_payload)
            identity, exchange_token = await self._verifier.for_exchange(
                identity, unverified_token, admission.unverified_exchange_tokens
            )
        record.identity = identity
        self._revocation.refuse(identity)
        session = Session(admission.digest, identity, exchange_token)
        self._sessions.put(session)
        return session

    def payload(self, admission: Admission, body: bytes) -> Payload:
        """What is signed of the body. Hashes it, so a large one is better given to another thread.

        Raises:
            Denied: ``BODY_TOO_LARGE`` or ``BODY_DIFFERS``.
        """
        if len(body) > self._max_body_bytes:
            raise Denied(Reason.BODY_TOO_LARGE, f"{len(body)} bytes")
        return payload_of(body, head=admission.head, target=admission.target, chunked=admission.chunked)

    def counts(self, admission: Admission) -> bool:
        """Whether the requests open to the target are counted."""
        return self._slots.limits(admission.target.name)

    def enter(self, admission: Admission, authorized: Authorized) -> Slot | None:
        """Take one of the target's slots for the request, or a place in the line; None if it has no limits.

        Raises:
            Denied: ``TARGET_BUSY`` or ``USER_STREAMS``, if there is no use in waiting.
        """
        return self._slots.enter(admission.target.name, authorized.session.identity.owner)

    def allow(
        self, admission: Admission, authorized: Authorized, payload: Payload, record: RequestRecord
    ) -> Allow:
        """Sign the request and say what Envoy must change in it.

        Raises:
            Denied: the identity was revoked meanwhile, or Envoy would refuse the request for its size.
        """
        # Last of all: a body may have been held up, an exchange under way.
        self._revocation.refuse(authorized.session.identity)
        head = admission.head
        began = time.perf_counter()
        signed = self._signer.sign(
            method=head.method,
            path=admission.path,
            query=admission.query,
            clients=admission.signed + payload.headers if payload.headers else admission.signed,
            target=admission.target,
            credentials=authorized.credentials,
            payload=payload.hash,
        )
        record.signed_for(authorized, seconds=time.perf_counter() - began)
        record.withheld = admission.withheld
        mutation = [("authorization", signed.authorization), *payload.headers]
        forwarded_path = f"{admission.path}?{admission.query}" if admission.query else admission.path
        if forwarded_path != head.path:
            mutation.append((":path", forwarded_path))
        if payload.changed or (admission.needs_body and "content-length" not in head.names):
            # A request of unknown length would go upstream chunked, and AWS wants a length.
            mutation.append(("content-length", str(len(payload.body))))
        if admission.room is not None:
            check_room(admission.room, mutation, signed.shared.pairs)
        # What we set is removed first too: setting replaces the first of several values only.
        return Allow(
            tuple(mutation), admission.removed, payload.body if payload.changed else None, signed.shared
        )

    def expects_answer(self, admission: Admission) -> bool:
        """Return whether to look at the upstream's answer; ``answered`` or ``unanswered`` is to follow."""
        holds_body = admission.head.has_body and not admission.needs_body
        return self._answers.begin(admission.digest, admission.target.name, holds_body=holds_body)

    def answered(
        self,
        admission: Admission,
        authorized: Authorized,
        response: UpstreamResponse,
        body: bytes,
        record: RequestRecord,
    ) -> None:
        """Count the upstream's answer, and log it if AWS refused the signature or the credentials.

        If new credentials may help, the next request gets some. Bounded in how often that happens, since an
        upstream that refuses everything must not turn every request into an exchange.
        """
        self._answers.end()
        target = admission.target
        refused = rejection(response, body)
        self._on_answer(target.name, refused.cause if refused else "none")
        if refused is None:
            return
        dropped = refused.cause.new_credentials_may_help and self._credentials.forget_stale(authorized)
        if dropped:
            _log.warning(
                "upstream_refused_credentials",
                target=target.name,
                status=response.status,
                error_type=refused.code,
                access_key_id=authorized.credentials.access_key_id,
            )
        elif refused.cause is not Cause.CREDENTIALS or (refused.code and self._are_current(authorized)):
            _log.warning(
                "upstream_refused_signature",
                target=target.name,
                status=response.status,
                error_type=refused.code,
                reason=refused.cause.value,
                signed_for={
                    "host": target.host,
                    "region": target.scope.region,
                    "service": target.scope.service,
                },
                request_id=record.request_id or "",
                hint=_OF_CREDENTIALS if refused.cause is Cause.CREDENTIALS else _OF_SIGNATURES,
            )

    def _are_current(self, authorized: Authorized) -> bool:
        """Whether credentials that AWS refused are kept, too new to be replaced: it is not their age then."""
        kept = self._credentials.get(authorized.session, authorized.grant)
        return kept is authorized.credentials

    def unanswered(self, admission: Admission) -> None:
        """Note that Envoy left without having shown an answer that was to be looked at."""
        self._answers.end()
        self._on_answer(admission.target.name, "not_shown")

    def deny(
        self,
        error: BaseException,
        *,
        record: RequestRecord,
        admission: Admission | None = None,
        body: bytes = b"",
    ) -> ImmediateResponse:
        """The answer for whatever went wrong. Anything but ``Denied`` is a bug of ours, and denies too.

        ``body``: the request's, if it came; an MCP message in it is answered in its own form.
        """
        head = record.head
        request_id = record.request_id
        if isinstance(error, Denied):
            reason, detail = error.reason, error.detail
            _log.debug("request_denied", reason=reason.value, detail=detail, request_id=request_id)
        else:
            # The type and place only: the message of an unforeseen exception may quote a secret.
            reason, detail = Reason.INTERNAL, f"{type(error).__name__} at {_place(error)}"
            _log.error("request_failed", error=type(error).__name__, at=_place(error), request_id=request_id)
        if admission is not None:
            self._name_whom(record, admission)
        try:
            self.observer.on_decision(record, Verdict.DENY, reason.value, detail)
        except Exception as unobserved:  # noqa: BLE001 - a denial stands, whoever cannot be told of it
            _log.error("telemetry_failed", error=type(unobserved).__name__, at=_place(unobserved))
        return self._denials.reply(
            error if isinstance(error, Denied) else Denied(reason),
            head,
            request_id=request_id,
            message=self._message(head, admission, body),
        )

    def _message(self, head: RequestHead | None, admission: Admission | None, body: bytes) -> Envelope | None:
        """What a refusal repeats of the MCP message that is refused; None if the request is none of MCP's."""
        try:
            if head is None or head.method != "POST":
                return None
            target = admission.target if admission is not None else self._admission.target(head)
            if target is not None and not target.takes_mcp:
                return None
            is_mcp = may_be_mcp(head) or (target is not None and target.mcp)
            return (read_envelope(body) if body else None) or (UNKNOWN if is_mcp else None)
        except Exception as error:  # noqa: BLE001 - a denial stands, in whatever form
            _log.error("denial_form_failed", error=type(error).__name__, at=_place(error))
            return None

    def is_mcp(self, head: RequestHead, admission: Admission | None) -> bool:
        """Whether a request whose body is still to come is answered in MCP's form."""
        return self._message(head, admission, b"") is not None

    def token_of(self, head: RequestHead, admission: Admission | None) -> TokenDigest:
        """Return whose requests count together: those with one token, which is verified by now."""
        return admission.digest if admission is not None else token_digest(bearer_token(head))

    async def identify(self, head: RequestHead) -> None:
        """Verify the token of a request that is refused anyway; it opens no session.

        Raises:
            Denied: there is none that counts, or whose user is kept out.
        """
        identity = await self._verifier.verify(bearer_token(head), jwt_payload=head.jwt_payload)
        self._revocation.refuse(identity)

    def withheld_names(self, head: RequestHead) -> tuple[str, ...]:
        """The headers to take off a request that goes nowhere, before its body is asked for."""
        return tuple(name for name in head.names if not stays(name))

    def abandon(self, record: RequestRecord, admission: Admission | None, phase: str) -> None:
        """Take note of a stream that Envoy left without an answer. What it began goes on."""
        if admission is not None:
            self._name_whom(record, admission)
        try:
            self.observer.on_abandoned(record, phase)
        except Exception as unobserved:  # noqa: BLE001 - nobody is left to be told
            _log.error("telemetry_failed", error=type(unobserved).__name__, at=_place(unobserved))

    def _name_whom(self, record: RequestRecord, admission: Admission) -> None:
        """Say in the record of a request that is not forwarded whose it was, and for which role, if known."""
        with contextlib.suppress(Exception):  # whatever made the request fail may fail again
            session = self._living_session(admission)
            if session is not None:
                record.identity = session.identity
                if record.decision_key is not None:
                    record.grant = self._decisions.recall(session, record.decision_key)


def _place(error: BaseException) -> str:
    """Where an exception was raised, as module:line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
