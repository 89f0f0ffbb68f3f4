"""Decisions, made once: memoised by token and exactly the values that the rules read.

A decision is a pure function of claims and inputs, so a memoised one is as good as a new one
for as long as the policy is the same; it belongs to the policy and goes with it. ``recall`` is
for any thread, all else for the event loop. New decisions are made in a worker thread: CEL is
interpreted Python, and must not hold up the signatures of others.
"""

from collections.abc import Callable
from functools import partial

from cachetools import LRUCache

from extproc.caching.locked import LockedCache
from extproc.errors import Denied, Reason
from extproc.fairness.pool import Busy, BusyError, FairPool
from extproc.policy.inputs import Inputs, decision_key
from extproc.policy.rules import Policy
from extproc.values import Grant, Session, TokenDigest

MAX_DECISIONS = 64  # kept for one session
MAX_WAITING = 128  # decisions; each costs at most limits.policy_cost, by default about 50 ms
MAX_WAITING_OF_ONE = 32  # of one user, who may have many sessions, and must not fill the queue

_Outcome = Grant | Denied


class Decisions:
    """The decisions of one policy. ``on_cost`` receives the units of each, in the worker's thread."""

    def __init__(
        self, policy: Policy, *, max_sessions: int, on_cost: Callable[[int], None] = lambda _cost: None
    ) -> None:
        self._policy = policy
        self._on_cost = on_cost
        # Each of the inner ones is written by one thread, and a dict is read and written at one stroke.
        self._memo: LockedCache[TokenDigest, dict[tuple[object, ...], _Outcome]] = LockedCache(
            LRUCache(max_sessions)
        )
        # One worker: a second one would only compete with the event loop for the interpreter.
        self._worker = FairPool(
            workers=1, max_waiting=MAX_WAITING, max_of_one=MAX_WAITING_OF_ONE, name="policy"
        )

    def key(self, inputs: Inputs) -> tuple[object, ...]:
        """What the decision depends on besides the session."""
        reads = self._policy.request_reads
        return decision_key(inputs, reads) if reads else ()

    def recall(self, session: Session, key: tuple[object, ...]) -> Grant | None:
        """The grant if this was decided before, else None. No evaluation.

        Raises:
            Denied: if this was denied before.
        """
        decisions = self._memo.get(session.digest)
        outcome = decisions.get(key) if decisions is not None else None
        if isinstance(outcome, Denied):
            raise outcome.anew()
        return outcome

    async def decide(self, session: Session, inputs: Inputs, key: tuple[object, ...]) -> Grant:
        """Decide, and remember under the inputs' ``key``.

        Raises:
            Denied: with a reason of the policy; ``POLICY_BUSY`` or ``USER_BUSY`` if too many decisions wait.
        """
        remembered = self.recall(session, key)
        if remembered is not None:
            return remembered
        work = partial(self._outcome, session, inputs)
        try:
            outcome = await self._worker.submit(session.identity.owner, work).result
        except BusyError as busy:
            if busy.cause is Busy.OF_ONE_USER:
                raise Denied(Reason.USER_BUSY, "too many decisions of this user are waiting") from None
            raise Denied(Reason.POLICY_BUSY, "too many decisions are waiting") from None
        self._remember(session.digest, key, outcome)
        if isinstance(outcome, Denied):
            raise outcome.anew()
        return outcome

    def close(self) -> None:
        """Take no more."""
        self._worker.close()

    def _outcome(self, session: Session, inputs: Inputs) -> _Outcome:
        decision = self._policy.decide(session.identity, inputs)
        self._on_cost(decision.cost)
        return decision.outcome

    def _remember(self, digest: TokenDigest, key: tuple[object, ...], outcome: _Outcome) -> None:
        decisions = self._memo.put_if_absent(digest, {})
        decisions[key] = outcome
        if len(decisions) > MAX_DECISIONS:
            del decisions[next(iter(decisions))]  # the oldest
