"""Stand-ins for parts of the server while a request is explained; they record what happens."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from extproc.authn.verifier import Step, Verifier
from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.sessions.credentials import CredentialStore
from extproc.sessions.decisions import UNMEASURED
from extproc.sessions.session import Authorized, Granted, LiveCredentials, Session
from extproc.telemetry.observer import Observer, Verdict
from extproc.telemetry.record import RequestRecord
from extproc.values import Credentials, Grant, Identity

_LIFETIME = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Answered:
    """The request is answered by extproc itself: resource metadata, CORS preflights."""

    status: int


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step of the verification. ``passed`` is None for a step not taken, with the cause in ``detail``."""

    step: Step
    passed: bool | None
    reason: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class StepNotes:
    """The steps that were begun, and how the last one ended."""

    begun: list[Step] = field(default_factory=list)
    denied: Denied | None = None
    passed: bool = False

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Record how the steps end."""
        try:
            yield
            self.passed = True
        except Denied as denied:
            self.denied = denied
            raise

    def results(self, *, not_taken: Mapping[Step, str]) -> tuple[StepResult, ...]:
        """Return one result for each step; ``not_taken``: steps that Envoy took, with the cause."""
        return tuple(self._result(step, not_taken) for step in Step)

    def _result(self, step: Step, not_taken: Mapping[Step, str]) -> StepResult:
        if self.denied is not None and self.begun and step is self.begun[-1]:
            return StepResult(step, passed=False, reason=self.denied.reason.value, detail=self.denied.detail)
        if step in not_taken:
            return StepResult(step, passed=None, detail=not_taken[step])
        return StepResult(step, passed=True if step in self.begun else None)


class WatchedVerifier(Verifier):
    """A copy of the server's verifier that notes each step of a bearer token's verification."""

    def __init__(self, verifier: Verifier) -> None:
        self.__dict__.update(vars(verifier))
        self.notes = StepNotes()

    async def verify(self, unverified_token: str, *, is_for_sts: bool = False, **more: Any) -> Identity:
        """Verify as the server does; a separate token for STS is not noted."""
        if is_for_sts:
            return await super().verify(unverified_token, is_for_sts=True, **more)
        with self.notes.taken():
            return await super().verify(unverified_token, **{**more, "begin": self.notes.begun.append})


class AssumingVerifier(WatchedVerifier):
    """Accepts any bearer token as verified, with the given claims. Never part of a server."""

    def __init__(self, verifier: Verifier, claims: Mapping[str, Any], *, clock: Clock) -> None:
        super().__init__(verifier)
        self._claims = claims
        self._now = clock
        self.reads_jwt_payload = False

    async def verify(self, unverified_token: str, *, is_for_sts: bool = False, **more: Any) -> Identity:
        """Return the identity of the claims; see ``Verifier.assume``."""
        if is_for_sts:
            return await super().verify(unverified_token, is_for_sts=True, **more)
        with self.notes.taken():
            return self.assume(
                self._claims, expires_at=self._now() + _LIFETIME, begin=self.notes.begun.append
            )

    async def for_exchange(
        self, identity: Identity, unverified_token: str, unverified_exchange_tokens: Mapping[str, str]
    ) -> tuple[Identity, str]:
        """Verify a separate token for STS as the server does, if the issuer is known."""
        if not identity.issuer:
            return identity, unverified_token
        return await super().for_exchange(identity, unverified_token, unverified_exchange_tokens)

    def still_trusted(self, identity: Identity, _jwt_payload: Mapping[str, object] | None) -> bool:
        """Return whether the identity is the assumed one."""
        return identity.claims is self._claims


class NoCredentials(CredentialStore):
    """Replaces the credential store: returns credentials that are valid nowhere, and does not call STS."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def living(self, _granted: Granted, _now: float | None = None) -> None:
        """Return None."""

    async def obtain(
        self, _session: Session, _granted: Granted, *, measured: AbstractContextManager[None] = UNMEASURED
    ) -> LiveCredentials:
        """Return credentials that AWS never issued; nothing signed with them leaves the process."""
        del measured
        now = self._clock()
        credentials = Credentials("ASIAEXAMPLE", "not-a-secret", "not-a-token", now + _LIFETIME)
        return LiveCredentials(credentials, now, now, now + _LIFETIME)

    def forget_stale(self, _authorized: Authorized) -> bool:
        """Return False: there are none."""
        return False


class DecisionNotes(Observer):
    """The observer of one request, which records its decision."""

    def __init__(self) -> None:
        self._noted: tuple[RequestRecord, str, str, str] | None = None

    def on_abandoned(self, record: RequestRecord, phase: str) -> None:
        """Do nothing: an explanation is not abandoned."""

    def on_decision(self, record: RequestRecord, verdict: str, reason: str = "", detail: str = "") -> None:
        """Record the decision."""
        record.decision, record.reason = verdict, reason
        self._noted = record, verdict, reason, detail

    def outcome(self, status: int | None) -> tuple[RequestRecord, Grant | Denied | Answered]:
        """Return record and outcome; ``status``: that of the response to the client, if there was one."""
        if self._noted is None:
            raise RuntimeError("nothing was decided")
        record, verdict, reason, detail = self._noted
        if verdict == Verdict.DENY:
            return record, Denied(Reason(reason), detail)
        if verdict == Verdict.ALLOW and record.grant is not None and status is None:
            return record, record.grant
        return record, Answered(status or 0)
