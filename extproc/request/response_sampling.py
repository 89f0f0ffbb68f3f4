"""Which answers of upstreams are looked at: few, so that extproc stays on the way of few.

A wrong region, host or service shows in the upstream's answer only, and an error may come with any of them: a
service may answer some calls without looking at their signature. So of each session and target the first
eight answers are looked at, then the 16th, the 32nd and so on. For any thread.
"""

import itertools
import threading
from collections.abc import Iterator
from typing import Literal

from extproc.values import TokenDigest

Answers = Literal["first", "every", "never"]

_ALL_OF_THE_FIRST = 8
_AT_ONCE = 4096  # streams; a part of those that Envoy may hold open


class AnswerWatch:
    """Chooses requests whose answers are to be looked at.

    Attributes:
        waiting: requests that were chosen and whose answers have not come.
    """

    def __init__(self, which: Answers, *, max_sessions: int, at_once: int = _AT_ONCE) -> None:
        self._which = which
        self._at_once = at_once
        self._max_sessions = max_sessions
        # Requests of each session and target. Not by age: a look would cost more than what it is for.
        self._requests: dict[tuple[TokenDigest, str], Iterator[int]] = {}
        self._lock = threading.Lock()
        self.waiting = 0

    def begin(self, digest: TokenDigest, target: str, *, holds_body: bool) -> bool:
        """Count a request; return whether its answer is to be looked at. If so, ``end`` is to follow.

        ``holds_body``: looking would have Envoy buffer a body that could go on as it comes.
        """
        if self._which != "every":
            if self._which == "never" or holds_body:
                return False
            requests = self._requests.get((digest, target))
            if requests is None:
                requests = self._first_request(digest, target)
            number = next(requests)
            if number > _ALL_OF_THE_FIRST and number & (number - 1):
                return False
        with self._lock:
            if self.waiting >= self._at_once:
                return False
            self.waiting += 1
        return True

    def end(self) -> None:
        """Note that an answer came, or will not come."""
        with self._lock:
            self.waiting -= 1

    def _first_request(self, digest: TokenDigest, target: str) -> Iterator[int]:
        if len(self._requests) >= self._max_sessions:
            self._requests.clear()  # all begin anew, which costs a look at some more answers
        self._requests[digest, target] = requests = itertools.count(1)
        return requests
