"""Decisions of the policy, grants and denials, remembered in the session by the values that the rules read.

A decision is a pure function of claims and inputs, so a remembered one is as good as a new one while the
policy is the same. ``lookup`` is for any thread, all else for the event loop. New decisions are made in a
worker thread: CEL is interpreted Python, and must not delay other requests.
"""

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import structlog

from extproc.caching.single_flight import SingleFlight
from extproc.errors import Denied, Reason
from extproc.fairness.pool import Busy, BusyError, FairPool
from extproc.policy.inputs import Inputs, decision_key
from extproc.policy.rules import Decision, Policy
from extproc.sessions.session import Granted, Outcome, Session
from extproc.values import Grant, Identity

MAX_DECISIONS = 64  # kept for one session
MAX_WAITING = 128  # decisions; each costs at most limits.policy_cost, by default about 50 ms
MAX_WAITING_OF_ONE = 32  # of one user, who may have many sessions, and must not fill the queue

_log = structlog.get_logger(__name__)
OnDecision = Callable[[Policy, Identity, Inputs, Decision], None]

UNMEASURED: AbstractContextManager[None] = nullcontext()


class Decisions:
    """The decisions of one policy.

    Args:
        policy: the policy.
        on_cost: receives the cost of each decision in units, in the worker's thread.
        on_break_glass: receives the mapping's name of each new decision that a reason made possible.
        on_decision: receives each new decision with policy, identity and inputs, in the worker's thread; must
            neither wait nor raise.

    Attributes:
        key: returns the values that a decision depends on besides the session.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        on_cost: Callable[[int], None] = lambda _cost: None,
        on_break_glass: Callable[[str], None] = lambda _mapping: None,
        on_decision: OnDecision | None = None,
    ) -> None:
        self._policy = policy
        self._on_cost = on_cost
        self._on_decision = on_decision
        self._on_break_glass = on_break_glass
        # Chosen once, so that a policy without such mappings pays nothing for them.
        self.key = self._key if policy.counts_always else self._key_with_conditions
        self._mark = object()  # identifies the policy in sessions, which may outlive it
        self._deciding: SingleFlight[tuple[Session, Hashable], Outcome] = SingleFlight()
        # One worker: a second one would only compete with the event loop for the interpreter.
        self._worker = FairPool(
            workers=1, max_waiting=MAX_WAITING, max_of_one=MAX_WAITING_OF_ONE, name="policy"
        )

    def _key(self, inputs: Inputs) -> tuple[object, ...]:
        reads = self._policy.request_reads
        return decision_key(inputs, reads) if reads else ()

    def _key_with_conditions(self, inputs: Inputs) -> tuple[object, ...]:
        """Add the period and the reason: a decision ends where a mapping begins or ends to count."""
        return (*self._key(inputs), self._policy.periods.number(inputs.now), inputs.reason)

    def lookup(self, session: Session, key: tuple[object, ...]) -> Granted | None:
        """Return the remembered grant, or None if nothing was decided yet. No evaluation.

        Raises:
            Denied: the remembered denial.
        """
        mark, first, outcome, decided = session.decided
        if mark is not self._mark:
            return None
        if first != key:
            if decided is None:
                return None
            outcome = decided.get(key)
        if isinstance(outcome, Denied):
            raise outcome.anew()
        return outcome

    async def decide(
        self, session: Session, inputs: Inputs, *, measured: AbstractContextManager[None] = UNMEASURED
    ) -> Granted:
        """Decide, or join a decision under way, and remember. ``measured`` is entered around the evaluation.

        Raises:
            Denied: with a reason of the policy; ``POLICY_BUSY`` or ``USER_BUSY`` if too many decisions wait.
        """
        key = self.key(inputs)
        remembered = self.lookup(session, key)
        if remembered is not None:
            return session.granted(remembered.grant, remembered)
        outcome = await self._deciding.join(
            (session, key), lambda: self._decide(session, inputs, key, measured)
        )
        if isinstance(outcome, Denied):
            raise outcome.anew()
        return outcome

    def close(self) -> None:
        """Make no further decisions."""
        self._worker.close()

    async def _decide(
        self,
        session: Session,
        inputs: Inputs,
        key: tuple[object, ...],
        measured: AbstractContextManager[None],
    ) -> Outcome:
        work = partial(self._evaluate, session, inputs)
        try:
            with measured:
                outcome = await self._worker.submit(session.owner, work).result
        except BusyError as busy:
            if busy.cause is Busy.OF_ONE_USER:
                raise Denied(Reason.USER_BUSY, "too many decisions of this user are waiting") from None
            raise Denied(Reason.POLICY_BUSY, "too many decisions are waiting") from None
        # A kept denial was never raised, or its traceback would keep the request's message.
        kept = session.granted(outcome) if isinstance(outcome, Grant) else outcome.anew()
        if isinstance(outcome, Grant) and outcome.break_glass is not None:
            self._report_break_glass(session, outcome)
        self._remember(session, key, kept)
        return kept

    def _remember(self, session: Session, key: tuple[object, ...], outcome: Outcome) -> None:
        mark, first, decision, decided = session.decided
        if mark is not self._mark or decision is None or (decided is None and first == key):
            session.decided = self._mark, key, outcome, None
            return
        if decided is None:
            decided = {first: decision}
            session.decided = mark, first, decision, decided
        # Only the event loop writes, and a dict is read and written at one stroke.
        decided[key] = outcome
        if len(decided) > MAX_DECISIONS:
            del decided[next(iter(decided))]  # the oldest

    def _report_break_glass(self, session: Session, grant: Grant) -> None:
        self._on_break_glass(grant.mapping or "")
        _log.warning(
            "break_glass",
            issuer=session.identity.issuer,
            subject=session.identity.subject,
            mapping=grant.mapping,
            role_arn=grant.assumed_role_arn,
            reason=grant.break_glass,
        )

    def _evaluate(self, session: Session, inputs: Inputs) -> Grant | Denied:
        identity = session.identity.loaded()
        decision = self._policy.decide(identity, inputs)
        self._on_cost(decision.cost)
        if self._on_decision is not None:
            self._on_decision(self._policy, identity, inputs, decision)
        return decision.outcome
