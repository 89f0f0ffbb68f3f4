"""Authorization under rate limits: each request takes its tokens once, before it is signed.

Part of a pipeline only if limits are configured: others pay nothing for them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from extproc.errors import Denied, Reason
from extproc.fairness.token_buckets import SECOND, TokenBuckets
from extproc.policy.cel import Budget, EvaluationError
from extproc.policy.inputs import Inputs
from extproc.policy.rate_limits import RateLimit, applying
from extproc.policy.rules import Policy
from extproc.request.admission import Admission
from extproc.request.authorization import Authorization
from extproc.sessions.session import Authorized
from extproc.telemetry.record import RequestRecord
from extproc.values import Identity

_COST = 50_000
"""Units of cost for the conditions of a request's limits, which hold up other requests meanwhile."""


class RateLimitedAuthorization(Authorization):
    """Refuses authorized requests that come too often. ``on_refused`` receives the limit's name."""

    def __init__(
        self,
        *,
        policy: Policy,
        limits: Sequence[RateLimit],
        buckets: TokenBuckets,
        on_refused: Callable[[str], None],
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        self._policy = policy
        self._limits = limits
        self._buckets = buckets
        self._on_refused = on_refused

    def lookup(self, admission: Admission, inputs: Inputs, record: RequestRecord) -> Authorized | None:
        """Return what is known, and count the request if that is enough to sign it.

        Raises:
            Denied: as without limits, and ``RATE_LIMITED``.
        """
        authorized = super().lookup(admission, inputs, record)
        if authorized is not None:
            self._count(admission, inputs, record, authorized)
        return authorized

    async def obtain(self, admission: Admission, inputs: Inputs, record: RequestRecord) -> Authorized:
        """Make what is missing, and count the request.

        Raises:
            Denied: as without limits, and ``RATE_LIMITED``.
        """
        authorized = await super().obtain(admission, inputs, record)
        self._count(admission, inputs, record, authorized)
        return authorized

    def _count(
        self, admission: Admission, inputs: Inputs, record: RequestRecord, authorized: Authorized
    ) -> None:
        if record.is_counted:  # looked up again since it had to wait
            return
        session, message = authorized.session, inputs.message
        tool = message.name if message is not None and message.method == "tools/call" else None
        limits = self.limits_of(session.identity, inputs, admission.target.name)
        mapping = authorized.granted.grant.mapping
        refused = self._buckets.take(
            [(limit.key(session.owner, mapping, tool), limit.rate) for limit in limits]
        )
        if refused is not None:
            place, wait = refused
            name = limits[place].name
            self._on_refused(name)
            raise Denied(Reason.RATE_LIMITED, f"rate limit {name}", retry_after=-(-wait // SECOND))
        record.is_counted = True

    def limits_of(self, identity: Identity, inputs: Inputs, target: str) -> list[RateLimit]:
        """Return the limits that count a request.

        Raises:
            Denied: ``POLICY_ERROR`` if that cannot be evaluated.
        """
        budget = Budget(_COST)
        if all(limit.matcher is None for limit in self._limits):
            return applying(self._limits, target, {}, budget)
        try:
            variables = self._policy.variables(identity, inputs, budget)
        except EvaluationError as error:
            raise Denied(Reason.POLICY_ERROR, f"rate limits: {error}") from None
        return applying(self._limits, target, variables, budget)
