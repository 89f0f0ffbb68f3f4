"""The open sessions decided under another configuration: counts and outcomes, nothing of one user."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from extproc.app.shadow import Candidate, SeenDifference, decided, nameless
from extproc.policy.inputs import Inputs
from extproc.policy.rules import Policy
from extproc.policy_diff.outcome import compare
from extproc.sessions.session import Session

MAX_SECONDS = 20.0
"""A client of the admin API waits for thirty."""
_REST = 1.0  # seconds of rest for each second of computing, for the requests


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result; ``decided`` is less than the number of sessions if time ran out."""

    decided: int
    differences: list[SeenDifference]


def compared(running: Policy, candidate: Candidate, sessions: Iterable[Session], now: float) -> Comparison:
    """Decide sessions, each without a request, under both policies. Evaluates CEL: not for the event loop."""
    found: dict[tuple[object, ...], SeenDifference] = {}
    inputs = Inputs(now=now)
    deadline = time.monotonic() + MAX_SECONDS
    count = 0
    for session in sessions:
        began = time.thread_time()
        identity = session.identity.loaded()
        before = decided(running.decide(identity, inputs))
        after = candidate.decide(identity, inputs)
        comparison = compare(before, after)
        count += 1
        if comparison is not None:
            key = (str(before), str(after), comparison)
            known = found.setdefault(key, SeenDifference(nameless(before), nameless(after), comparison))
            found[key] = replace(known, count=known.count + 1)
        if time.monotonic() > deadline:
            break
        time.sleep((time.thread_time() - began) * _REST)
    return Comparison(count, sorted(found.values(), key=lambda each: -each.count))
