"""Exchanges of tokens for credentials at STS, with the limits of ``sts.guarded``."""

from collections.abc import Callable
from typing import Protocol

from extproc.errors import Reason
from extproc.fairness.queue import Owner
from extproc.sts.breaker import CircuitBreaker
from extproc.sts.errors import known_errors
from extproc.sts.guarded import CallLimits, GuardedCalls, Service
from extproc.values import Credentials, Grant

_STS = Service(
    name="sts",
    failed="exchange_failed",
    unavailable=Reason.STS_UNAVAILABLE,
    busy=Reason.STS_BUSY,
    # A provider that STS cannot reach is no failure of STS.
    failures=frozenset({Reason.STS_UNAVAILABLE, Reason.STS_THROTTLED}),
    operator_errors=frozenset({Reason.STS_MISCONFIGURED, Reason.STS_ACCESS_DENIED, Reason.STS_TOKEN_REFUSED}),
)

EXCHANGE_OUTCOMES = (("ok", ""), (Reason.STS_UNAVAILABLE.value, ""), *known_errors())
"""Every pair of outcome and STS error code that ``StsExchange`` reports; no code if STS did not answer."""


class Sts(Protocol):
    """Blocking calls to STS."""

    def assume(self, unverified_web_identity_token: str, grant: Grant, until: float) -> Credentials:
        """Return the credentials of a grant by ``until`` (monotonic seconds); raise ``Denied``."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class StsExchange:
    """Exchanges tokens in threads. Belongs to one event loop.

    Attributes:
        on_outcome: called after each call of STS with "ok" or the reason, STS's error code, and seconds.
        on_refusal: called with the cause of each refusal without a call of STS.
    """

    def __init__(
        self,
        *,
        sts: Sts,
        breaker: CircuitBreaker,
        limits: CallLimits,
        on_outcome: Callable[[str, str, float], None] = lambda _outcome, _code, _seconds: None,
        on_refusal: Callable[[str], None] = lambda _cause: None,
    ) -> None:
        self._sts = sts
        self._calls = GuardedCalls(
            _STS, breaker=breaker, limits=limits, on_outcome=on_outcome, on_refusal=on_refusal
        )

    @property
    def waiting(self) -> int:
        """Number of exchanges under way or queued."""
        return self._calls.waiting

    async def exchange(self, owner: Owner, unverified_web_identity_token: str, grant: Grant) -> Credentials:
        """Exchange a user's token for the credentials of one grant.

        Raises:
            Denied: with a reason of STS's, or as ``GuardedCalls.call`` raises it.
        """
        return await self._calls.call(
            owner,
            lambda until: self._sts.assume(unverified_web_identity_token, grant, until),
            {"role_arn": grant.role_arn},
        )

    def close(self) -> None:
        """Accept no more exchanges; running ones end by themselves."""
        self._calls.close()
        self._sts.close()
