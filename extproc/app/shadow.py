"""Shadow decisions: each new decision is also made under a candidate configuration, for comparison only.

Nothing here may change or delay a decision of the running policy. So ``submit`` only appends to a bounded
queue, from the policy's own thread; another thread decides, and rests nine times as long as it has computed.
What does not fit in the queue is dropped and counted. A candidate that cannot be loaded shadows nothing.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from extproc import config
from extproc.app.factories import build_policy
from extproc.clock import Clock
from extproc.config import ConfigError, Settings
from extproc.errors import Reason
from extproc.policy import tools
from extproc.policy.cel import Path as Member
from extproc.policy.inputs import Inputs, read_members
from extproc.policy.rules import Decision, Policy
from extproc.policy.validity import ReasonSource, clean
from extproc.policy_diff.outcome import Comparison, Outcome, compare, outcome_of
from extproc.values import Identity

MAX_WAITING = 128  # decisions
MAX_DIFFERENCES = 256  # pairs of outcomes that are kept
CPU_SHARE = 0.1  # of one core
_OF_TOOLS: frozenset[Member] = frozenset({("tool",), ("arguments",)})  # what ``tools.variables`` needs

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration on trial.

    Attributes:
        issuers: the issuers that it trusts.
        loaded_at: seconds since the epoch.
    """

    path: str
    policy: Policy
    issuers: frozenset[str]
    loaded_at: float

    def decide(self, identity: Identity, inputs: Inputs) -> Outcome:
        """Return the outcome of a decision."""
        if identity.issuer not in self.issuers:
            return Outcome(denied=Reason.ISSUER_UNKNOWN.value)
        return decided(self.policy.decide(identity, inputs))


@dataclass(slots=True)
class SeenDifference:
    """Two outcomes that differed, without what belongs to one user.

    Attributes:
        last_at: when they last did, seconds since the epoch.
    """

    before: Outcome
    after: Outcome
    comparison: Comparison
    count: int = 0
    last_at: float = 0.0


def candidate_of(settings: Settings, path: str, limit: int, now: float) -> Candidate:
    """Return the candidate of settings; ``limit``: the most that one of its decisions may cost."""
    limits = settings.limits.model_copy(update={"policy_cost": min(settings.limits.policy_cost, limit)})
    policy = build_policy(settings.model_copy(update={"limits": limits}))
    return Candidate(path, policy, frozenset(each.issuer for each in settings.issuers), now)


def decided(decision: Decision) -> Outcome:
    """Return the outcome of a decision of a policy."""
    return outcome_of(decision.outcome, mapping=decision.rule.name if decision.rule else None)


def nameless(outcome: Outcome) -> Outcome:
    """Return an outcome without the session name, which may be a claim."""
    return replace(outcome, session_name="")


def _sees(running: Policy, candidate: Policy) -> bool:
    """Return whether the running policy has everything of a request read that the candidate needs."""
    return (
        running.reads_mcp >= candidate.reads_mcp
        and running.reads_request >= candidate.reads_request
        # A reason is in a header, so it is known if headers are, or the running policy reads it too.
        and (candidate.reason_source in (None, running.reason_source) or running.reads_request)
    )


def _read_by(policy: Policy, running: Policy, inputs: Inputs, now: float) -> Inputs:
    """Return only what a policy reads: a message may be large, and many may wait."""
    of_request, of_mcp = (
        {path[1:] for path in policy.request_reads if path[0] == variable} for variable in ("request", "mcp")
    )
    if policy.reads_tool:
        of_mcp |= _OF_TOOLS
    return replace(
        inputs,
        message=None,
        now=now if inputs.now is None else inputs.now,
        reason=_reason(policy.reason_source, running, inputs),
        request=read_members(inputs.request, of_request),
        mcp=read_members(inputs.mcp, of_mcp),
    )


def _reason(source: ReasonSource | None, running: Policy, inputs: Inputs) -> str | None:
    """Return the reason in a request as the candidate finds it."""
    if source is None or source == running.reason_source:
        return inputs.reason
    headers = inputs.request.get("headers", {})
    sent = [headers[source.header]] if source.header in headers else []
    found = source.choose(sent, inputs.mcp.get("arguments"))
    return None if found is None else clean(found)


def _with_tool(policy: Policy, inputs: Inputs) -> Inputs:
    """Add what is known of the tool, unless the running policy has it read already."""
    name = inputs.mcp.get("tool")
    if not policy.reads_tool or name is None:
        return inputs
    return replace(inputs, mcp={**tools.variables(name, inputs.mcp.get("arguments")), **inputs.mcp})


_Waiting = tuple[Candidate, Identity, Inputs, Outcome]


class Shadow:
    """The candidate of a process, and what it would have decided. For any thread.

    Args:
        on_outcome: receives the outcome of each new decision: ``same``, a ``Kind``, ``unseen``, ``failed`` or
            ``dropped``.
    """

    def __init__(self, *, clock: Clock, on_outcome: Callable[[str], None]) -> None:
        self._clock = clock
        self._on_outcome = on_outcome
        self._candidate: Candidate | None = None
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(MAX_WAITING)
        self._lock = threading.Lock()
        self._differences: dict[tuple[object, ...], SeenDifference] = {}
        self._counts: Counter[str] = Counter()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self.problems: list[str] = []

    @property
    def candidate(self) -> Candidate | None:
        """The present candidate."""
        return self._candidate

    def load(self, settings: Settings) -> None:
        """Load the candidate that the settings name, and begin to count anew. Blocks; never raises."""
        candidate, self.problems = None, []
        if settings.shadow is not None:
            try:
                wanted = config.load(Path(settings.shadow))
                limit = settings.limits.policy_cost
                candidate = candidate_of(wanted, settings.shadow, limit, self._clock())
            except ConfigError as error:
                self.problems = [f"shadow: {settings.shadow}: {problem}" for problem in error.problems]
            except Exception as error:  # noqa: BLE001 - a candidate must not stop the server or a reload
                self.problems = [f"shadow: {settings.shadow}: cannot be used ({type(error).__name__})"]
            for problem in self.problems:
                _log.error("shadow_not_loaded", problem=problem)
        with self._lock:
            self._candidate = candidate
            self._differences, self._counts = {}, Counter()

    def submit(self, policy: Policy, identity: Identity, inputs: Inputs, decision: Decision) -> None:
        """Queue a decision of the running policy; never waits and never raises."""
        candidate = self._candidate
        if candidate is None:
            return
        try:
            wanted = candidate.policy
            if not _sees(policy, wanted):
                self._count("unseen")  # the running policy has the request read only as far as it needs
                return
            read = _read_by(wanted, policy, inputs, self._clock())
            self._start()
            self._waiting.put_nowait((candidate, identity, read, decided(decision)))
        except queue.Full:
            self._count("dropped")
        except Exception as error:  # noqa: BLE001 - the running policy's decision must not suffer
            self._failed(error)

    def summary(self) -> tuple[dict[str, int], list[SeenDifference]]:
        """Return counts by outcome, and differences by frequency, since the candidate was loaded."""
        with self._lock:
            seen = [replace(each) for each in self._differences.values()]
            return dict(self._counts), sorted(seen, key=lambda each: -each.count)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._candidate = None

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                waiting = self._waiting.get(timeout=1.0)
            except queue.Empty:
                continue
            began = time.thread_time()
            try:
                if waiting is not None and waiting[0] is self._candidate:
                    self._decide(*waiting)
            except Exception as error:  # noqa: BLE001 - the thread must survive any candidate
                self._failed(error)
            waiting = None  # nothing of a user stays while the thread waits
            # The interpreter runs one thread at a time: what is computed here is missing elsewhere.
            self._closed.wait((time.thread_time() - began) * (1 / CPU_SHARE - 1))

    def _decide(self, candidate: Candidate, identity: Identity, inputs: Inputs, before: Outcome) -> None:
        after = candidate.decide(identity, _with_tool(candidate.policy, inputs))
        comparison = compare(before, after)
        self._count("same" if comparison is None else comparison.kind.value)
        if comparison is None:
            return
        key = (str(before), str(after), comparison)
        with self._lock:
            seen = self._differences.get(key)
            if seen is None and len(self._differences) < MAX_DIFFERENCES:
                seen = self._differences[key] = SeenDifference(nameless(before), nameless(after), comparison)
            if seen is not None:
                seen.count += 1
                seen.last_at = self._clock()
        _log.info(
            "shadow_decision_differs",
            kind=comparison.kind.value,
            what=list(comparison.what),
            before=before.facts(),
            after=after.facts(),
        )

    def _failed(self, error: Exception) -> None:
        # The type only: the message may quote a claim.
        _log.error("shadow_decision_failed", error=type(error).__name__)
        self._count("failed")

    def _count(self, outcome: str) -> None:
        with self._lock:
            self._counts[outcome] += 1
        self._on_outcome(outcome)
