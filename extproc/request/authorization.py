"""Authorization: from a token to credentials for what it is granted.

    token ──verify──▶ Session ──decide──▶ Granted ──exchange──▶ LiveCredentials

``lookup`` finds what is known, without I/O and from any thread. ``obtain`` makes what is missing, in the
event loop; concurrent requests share the work. Nothing is shared between two tokens.
"""

import asyncio
import contextlib

from extproc.authn.bearer import bearer_token
from extproc.authn.verifier import Verifier
from extproc.caching.single_flight import SingleFlight
from extproc.errors import Denied, Reason
from extproc.policy.inputs import Inputs
from extproc.policy.mcp import check_headers
from extproc.request.admission import Admission
from extproc.sessions.credentials import CredentialStore
from extproc.sessions.decisions import Decisions
from extproc.sessions.revocation import DenyList
from extproc.sessions.session import Authorized, Session
from extproc.sessions.table import SessionTable
from extproc.telemetry.record import HIT, MISS, SESSION, RequestRecord
from extproc.values import RequestHead, TokenDigest

_MAX_PAUSING = 2048  # requests; a small part of the streams that Envoy may hold open
_SERVER_ERRORS = 500  # RFC 9110 15.6


class Authorization:
    """Authorizes requests under one configuration.

    Args:
        deadline: seconds that a request may wait for keys, a decision and STS together.
        pause: seconds after which a user who had too much under way is tried once more.
    """

    def __init__(
        self,
        *,
        verifier: Verifier,
        deny_list: DenyList,
        sessions: SessionTable,
        decisions: Decisions,
        credentials: CredentialStore,
        deadline: float,
        pause: float = 1.0,
    ) -> None:
        self._verifier = verifier
        self._deny_list = deny_list
        self._sessions = sessions
        self._decisions = decisions
        self._credentials = credentials
        self._deadline = deadline
        self._pause_for = pause
        self._pausing = 0
        self._opening: SingleFlight[tuple[TokenDigest, bool], Session] = SingleFlight()
        self._retired = False

    def retire(self) -> None:
        """Authorize nothing more: the configuration was replaced long ago."""
        self._retired = True

    def close(self) -> None:
        """Make no more decisions."""
        self._decisions.close()

    def session(self, admission: Admission, now: float | None = None) -> Session | None:
        """Return the token's session, if it is known and its issuer is still trusted. No I/O."""
        session = self._sessions.lookup(admission.digest, now)
        if session is None or not self._verifier.still_trusted(session.identity, admission.head.jwt_payload):
            return None
        return session

    def lookup(self, admission: Admission, inputs: Inputs, record: RequestRecord) -> Authorized | None:
        """Return living credentials for the request, if all about it is known. No I/O; from any thread.

        Raises:
            Denied: at once, if that is certain: MCP headers that differ, a remembered denial, a request that
                outlived its configuration.
        """
        if self._retired:
            raise Denied(Reason.CONFIGURATION_CHANGED, "began under a configuration that is long gone")
        if inputs.message is not None:
            check_headers(inputs.message, admission.head)
        key = record.decision_key = self._decisions.key(inputs)
        now = self._sessions.clock()
        session = self.session(admission, now)
        if session is None:
            record.cache = MISS
            return None
        granted = self._decisions.lookup(session, key)
        live = self._credentials.living(granted, now) if granted is not None else None
        if granted is None or live is None:
            record.cache = record.cache or SESSION
            return None
        record.cache = record.cache or HIT
        return Authorized(session, granted, live)

    def lookup_again(self, admission: Admission, inputs: Inputs, record: RequestRecord) -> Authorized:
        """Return what ``lookup`` finds once more, for a request that had to wait for something else.

        Raises:
            Denied: ``CONFIGURATION_CHANGED`` if it finds nothing any more; a remembered denial.
        """
        authorized = self.lookup(admission, inputs, record)
        if authorized is None:
            raise Denied(Reason.CONFIGURATION_CHANGED, "the session ended while the request waited")
        return authorized

    async def open(self, admission: Admission, record: RequestRecord) -> Session:
        """Verify the token, or join a verification under way, and open its session.

        Raises:
            Denied: the token is not valid, or its user is revoked.
        """
        record.cache = MISS
        # A verification by Envoy's jwt_authn counts only for requests that have it: they share no other.
        flight = admission.digest, admission.head.jwt_payload is not None
        return await self._opening.join(flight, lambda: self._open(admission, record))

    async def obtain(self, admission: Admission, inputs: Inputs, record: RequestRecord) -> Authorized:
        """Make what ``lookup`` did not find. Cancelling one request does not cancel work that others share.

        Raises:
            Denied: by the verifier, the policy, STS or the deadline.
        """
        session: Session | None = None
        try:
            async with asyncio.timeout(self._deadline):
                session = self.session(admission) or await self.open(admission, record)
                try:
                    return await self._granted(session, inputs, record)
                except Denied as denied:
                    if denied.reason is not Reason.USER_BUSY or self._pausing >= _MAX_PAUSING:
                        raise
                await self._pause()
                return await self._granted(session, inputs, record)
        except TimeoutError:
            # STS is called for verified users only; only their denials may wait for a body.
            reason = Reason.KEYS_UNAVAILABLE if session is None else Reason.STS_UNAVAILABLE
            raise Denied(reason, f"not authorized within {self._deadline} s") from None

    async def identify(self, head: RequestHead) -> None:
        """Verify the token of a request that is refused anyway; it opens no session.

        Raises:
            Denied: the token is not valid, or its user is revoked.
        """
        identity = await self._verifier.verify(bearer_token(head), jwt_payload=head.jwt_payload)
        self._deny_list.refuse(identity)

    def describe(self, admission: Admission, record: RequestRecord) -> None:
        """Record the identity and the role of a request that is not forwarded, as far as they are known."""
        with contextlib.suppress(Exception):  # the cause of the failure may fail again
            session = self.session(admission)
            if session is not None:
                record.identity = session.identity
                if record.decision_key is not None:
                    granted = self._decisions.lookup(session, record.decision_key)
                    record.grant = granted.grant if granted is not None else None

    async def _open(self, admission: Admission, record: RequestRecord) -> Session:
        unverified_token = admission.unverified_token
        try:
            with record.stage("verify"):
                identity = await self._verifier.verify(
                    unverified_token, jwt_payload=admission.head.jwt_payload
                )
                identity, exchange_token = await self._verifier.for_exchange(
                    identity, unverified_token, admission.unverified_exchange_tokens
                )
        except Denied as denied:
            earlier = self._sessions.peek(admission.digest)
            if earlier is not None and denied.reason.outcome.status < _SERVER_ERRORS:
                self._sessions.end(earlier)  # its issuer is no longer trusted
            raise
        record.identity = identity
        self._deny_list.refuse(identity)
        return self._sessions.open(admission.digest, identity, exchange_token)

    async def _granted(self, session: Session, inputs: Inputs, record: RequestRecord) -> Authorized:
        # The record of the request that starts the work gets its time, not those of requests that join.
        granted = await self._decisions.decide(session, inputs, measured=record.stage("policy"))
        live = self._credentials.living(granted)
        if live is None:
            live = await self._credentials.obtain(session, granted, measured=record.stage("exchange"))
        return Authorized(session, granted, live)

    async def _pause(self) -> None:
        """Wait before a user who has too much under way is tried again, or refused.

        Many sessions opened at once then mostly succeed; and a client that tries again as soon as it is
        refused does not take the processor from others.
        """
        self._pausing += 1
        try:
            await asyncio.sleep(self._pause_for)
        finally:
            self._pausing -= 1
