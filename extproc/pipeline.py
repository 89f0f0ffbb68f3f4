"""The straight way of one request: admit → session → allow; or deny.

    bearer token → Identity → Grant → Credentials → SignedHeaders
        authn        authn    policy   credentials     signing

``admit``, ``allow`` and ``deny`` do no I/O; ``session`` does only for a token not seen
before. Whoever drives this (``server.stream``) turns every exception into ``deny``.
"""

import asyncio
import json
from dataclasses import dataclass, field

import structlog

from extproc.authn.bearer import bearer_token
from extproc.authn.challenge import ProtectedResource
from extproc.authn.verifier import Verifier
from extproc.credentials.cache import SessionCache, TokenDigest, token_digest
from extproc.credentials.sts import StsExchange
from extproc.errors import Denied, Reason
from extproc.policy.rules import Policy
from extproc.signing.path import forwardable
from extproc.signing.payload import Payload, payload_of
from extproc.signing.signer import Signer
from extproc.signing.targets import Target, TargetTable
from extproc.telemetry.metrics import Metrics
from extproc.values import Allow, Reply, RequestHead, Session

EXPIRY_MARGIN = 60.0
"""Seconds before their expiry from which credentials are no longer used."""

_NEVER_FORWARDED = frozenset({"authorization", "proxy-authorization", "cookie"})
_MAX_REQUEST_ID = 128

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Admission:
    """A request worth deciding: well-formed, for a known target, with one bearer token."""

    head: RequestHead
    target: Target
    path: str
    query: str
    unverified_token: str = field(repr=False)
    digest: TokenDigest = field(repr=False)

    @property
    def needs_body(self) -> bool:
        """Whether the signature covers a body that is still to come."""
        return self.head.has_body and self.target.payload == "signed"


class Pipeline:
    """Decides requests under one configuration."""

    def __init__(
        self,
        *,
        resource: ProtectedResource,
        targets: TargetTable,
        verifier: Verifier,
        policy: Policy,
        exchange: StsExchange,
        sessions: SessionCache,
        signer: Signer,
        metrics: Metrics,
        max_body_bytes: int,
    ) -> None:
        self._resource = resource
        self._targets = targets
        self._verifier = verifier
        self._policy = policy
        self._exchange = exchange
        self._sessions = sessions
        self._signer = signer
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    def admit(self, head: RequestHead) -> Admission | Reply:
        """Check the request's form, before any of its body is read.

        Returns a ``Reply`` for the resource metadata, which needs no token.

        Raises:
            Denied: the request is malformed, has no single bearer token or no target.
        """
        if head.method == "CONNECT" or not head.path or head.values("upgrade"):
            raise Denied(Reason.UPGRADE_REFUSED)
        metadata = self._resource.metadata_for(head.method, head.path)
        if metadata is not None:
            headers = (
                ("content-type", "application/json"),
                ("cache-control", "public, max-age=300"),
                ("access-control-allow-origin", "*"),
            )
            return Reply(200, headers, metadata, None)
        unverified_token = bearer_token(head)
        target = self._targets.select(head)
        path, query = forwardable(target.strip_prefix(head.path), slashes_matter=target.s3_style)
        return Admission(head, target, path, query, unverified_token, token_digest(unverified_token))

    def session(self, admission: Admission) -> Session | asyncio.Task[Session]:
        """The token's session, or the shared task that opens it (await it shielded).

        The task raises ``Denied``.
        """
        session = self._sessions.get(admission.digest)
        if session is not None:
            if self._verifier.still_trusted(session.identity):
                return session
            self._sessions.drop(admission.digest)
        return self._sessions.open(admission.digest, lambda: self._open(admission.unverified_token))

    async def _open(self, unverified_token: str) -> Session:
        identity = await self._verifier.verify(unverified_token)
        grant = self._policy.grant(identity)
        try:
            credentials = await self._exchange.exchange(unverified_token, grant)
        except Denied as denied:
            self._metrics.exchanged(denied.reason.value)
            raise
        self._metrics.exchanged("ok")
        _log.info(
            "session_opened",
            issuer=identity.issuer,
            subject=identity.subject,
            mapping=grant.mapping,
            role_arn=grant.role_arn,
            session_name=grant.session_name,
            access_key_id=credentials.access_key_id,
        )
        ends_at = min(identity.expires_at, credentials.expires_at - EXPIRY_MARGIN)
        return Session(identity, grant, credentials, ends_at)

    def payload(self, admission: Admission, body: bytes) -> Payload:
        """What is signed of the body. Hashes it, so a large one is better given to another thread.

        Raises:
            Denied: ``BODY_TOO_LARGE``.
        """
        if len(body) > self._max_body_bytes:
            raise Denied(Reason.BODY_TOO_LARGE, f"{len(body)} bytes")
        return payload_of(body, head=admission.head, target=admission.target)

    def allow(self, admission: Admission, session: Session, payload: Payload) -> Allow:
        """Sign the request and say what Envoy must change in it.

        Raises:
            Denied: a header cannot be signed.
        """
        head, target = admission.head, admission.target
        signed = self._signer.sign(
            head=head,
            path=admission.path,
            query=admission.query,
            target=target,
            credentials=session.credentials,
            payload=payload.hash,
        )
        mutation = list(signed.headers)
        forwarded_path = f"{admission.path}?{admission.query}" if admission.query else admission.path
        if forwarded_path != head.path:
            mutation.append((":path", forwarded_path))
        names = {name for name, _ in head.headers}
        if payload.changed or (admission.needs_body and "content-length" not in names):
            # A request of unknown length would go upstream chunked, and AWS wants a length.
            mutation.append(("content-length", str(len(payload.body))))
        # What we set is removed first too: setting replaces the first of several values only.
        removed = sorted(
            name
            for name in names
            if name in _NEVER_FORWARDED or (name.startswith("x-amz-") and name not in target.sign_headers)
        )
        self._metrics.allowed(target.name)
        return Allow(tuple(mutation), tuple(removed), payload.body if payload.changed else None)

    def deny(self, error: BaseException, *, head: RequestHead | None, target: str = "") -> Reply:
        """The answer for whatever went wrong. Anything but ``Denied`` is a bug of ours, and denies too."""
        request_ids = head.values("x-request-id") if head is not None else []
        request_id = request_ids[0][:_MAX_REQUEST_ID] if request_ids else None
        if isinstance(error, Denied):
            reason = error.reason
            _log.info("request_denied", reason=reason.value, detail=error.detail, request_id=request_id)
        else:
            reason = Reason.INTERNAL
            # The type and place only: the message of an unforeseen exception may quote a secret.
            _log.error("request_failed", error=type(error).__name__, at=_place(error), request_id=request_id)
        self._metrics.denied(reason, target)
        outcome = reason.outcome
        headers = [("content-type", "application/json"), ("cache-control", "no-store")]
        if outcome.status == 401:  # noqa: PLR2004 - RFC 9110 15.5.2
            headers.append(("www-authenticate", self._resource.challenge(reason)))
        if outcome.retry_after is not None:
            headers.append(("retry-after", str(outcome.retry_after)))
        body = {"error": outcome.error, "error_description": outcome.text, "request_id": request_id}
        return Reply(outcome.status, tuple(headers), json.dumps(body).encode(), reason)


def _place(error: BaseException) -> str:
    """Where an exception was raised, as module:line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
