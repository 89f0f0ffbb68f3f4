"""Slots: limits on the requests that are open to each target at a time, in all and for one subject.

A request holds a slot from its signature to the end of its response, for as long as Envoy keeps its stream
open. ``request.way`` enters, and gives the slot back however the stream ends. A request that finds none
free waits for a bounded time. The subject with the fewest open requests is served first. For any thread.

Not checked here: the number of connections that Envoy holds. Its circuit breakers limit that.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from extproc.errors import Denied, Reason
from extproc.fairness.queue import FairQueue, Owner

OUTCOMES = ("served", "busy", "user_busy", "left")
"""What becomes of a request that has to wait: it gets a slot; none within its time, since the target's
are all taken, or since its subject's are; its client leaves."""


@dataclass(frozen=True, slots=True)
class SlotLimit:
    """The limits of one target.

    Attributes:
        open: requests open at a time.
        of_one: requests of one subject open at a time.
        waiting: requests that may wait; of one subject, half of them, or ``of_one`` if that is more.
        seconds: the longest wait; 0 refuses at once.
    """

    open: int
    of_one: int
    waiting: int
    seconds: float

    def divided(self, processes: int) -> "SlotLimit":
        """Return one process's part, rounded down but never to nothing."""
        return SlotLimit(
            max(1, self.open // processes),
            max(1, self.of_one // processes),
            max(1, self.waiting // processes),
            self.seconds,
        )


@dataclass(frozen=True, slots=True)
class SlotCounts:
    """A target at one moment; ``outcomes``: of requests that had to wait, since the start."""

    limit: int
    open: int
    waiting: int
    outcomes: Mapping[str, int]


_WAITING, _OPEN, _OVER = range(3)
"""The states of a slot. Plain numbers: each request compares them, and members of an enum cost a call."""


class Slot:
    """One request's slot, or its place in the line for one. Changes under the lock of its line."""

    __slots__ = ("_event", "_line", "_loop", "owner", "refused", "state")

    def __init__(self, line: "_Line", owner: Owner) -> None:
        self._line = line
        self.owner = owner
        self.state = _WAITING
        self.refused: Denied | None = None
        self._event: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_open(self) -> bool:
        """Return whether the request may go upstream."""
        return self.state == _OPEN

    async def wait(self) -> None:
        """Wait until the slot is open. Cancelling the wait leaves the line.

        Raises:
            Denied: ``TARGET_BUSY`` or ``USER_STREAMS`` after the longest wait.
        """
        event = asyncio.Event()
        with self._line.lock:
            if self.state == _WAITING:
                self._event, self._loop = event, asyncio.get_running_loop()
            else:
                event.set()
        try:
            async with asyncio.timeout(self._line.limit.seconds):
                await event.wait()
        except TimeoutError:
            self._line.give_up(self)
        except asyncio.CancelledError:
            self.leave()
            raise
        if self.state != _OPEN:
            raise self.refused or Denied(Reason.TARGET_BUSY, "the request was over before it got a slot")

    def leave(self) -> None:
        """Give the slot back, or leave the line. Later calls do nothing."""
        self._line.leave(self)

    def opened(self) -> None:
        """Open the slot, with the lock held."""
        self.state = _OPEN
        self._wake()

    def crowded_out(self, refused: Denied) -> None:
        """Refuse the request, whose place another takes, with the lock held."""
        self.refused = refused
        self._wake()

    def _wake(self) -> None:
        if self._loop is not None and self._event is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)


class _Line:
    """The slots of one target. Counts what is open by its owners, and nothing can be counted twice."""

    def __init__(self, limit: SlotLimit) -> None:
        self.lock = threading.Lock()
        self.limit = limit
        self._queue: FairQueue[Slot] = FairQueue()
        self._open = 0
        self._outcomes = Counter(dict.fromkeys(OUTCOMES, 0))

    def enter(self, owner: Owner) -> Slot:
        slot = Slot(self, owner)
        with self.lock:
            queue, limit = self._queue, self.limit
            if self._open < limit.open and not queue.length and queue.begin(owner, below=limit.of_one):
                self._open += 1
                slot.state = _OPEN
                return slot
            queue.push(owner, slot)
            self._serve(entering=slot)
            if slot.state == _WAITING:
                self._check(slot)
        return slot

    def _check(self, slot: Slot) -> None:
        """Refuse at once a request that would wait in vain, or whose subject has too many waiting.

        In a full line, the subject with the most waiting requests makes room. Else two subjects could keep
        out all others.
        """
        limit, queue = self.limit, self._queue
        waiting_of_one = queue.outstanding(slot.owner) - queue.under_way(slot.owner)
        most_of_one = max(limit.of_one, limit.waiting // 2)
        if limit.seconds <= 0 or waiting_of_one > most_of_one:
            raise self._refused(slot)
        if len(queue) > limit.waiting:
            most, newest = queue.newest_of_most()
            if queue.outstanding(most) - queue.under_way(most) <= waiting_of_one:
                raise self._refused(slot)
            newest.crowded_out(self._refused(newest))

    def _serve(self, *, entering: Slot | None = None) -> None:
        while self._open < self.limit.open:
            following = self._queue.pop(below=self.limit.of_one)
            if following is None:
                return
            self._open += 1
            following[1].opened()
            if following[1] is not entering:
                self._outcomes["served"] += 1

    def give_up(self, slot: Slot) -> None:
        with self.lock:
            if slot.state == _WAITING:
                raise self._refused(slot)

    def _refused(self, slot: Slot) -> Denied:
        self._queue.remove(slot.owner, slot)
        slot.state = _OVER
        limit = self.limit
        held = self._queue.under_way(slot.owner)
        if held >= limit.of_one:
            self._outcomes["user_busy"] += 1
            return Denied(Reason.USER_STREAMS, f"{held} requests of this subject are open")
        self._outcomes["busy"] += 1
        return Denied(Reason.TARGET_BUSY, f"{self._open} requests are open, {len(self._queue)} wait")

    def leave(self, slot: Slot) -> None:
        with self.lock:
            before, slot.state = slot.state, _OVER
            if before == _OPEN:
                self._open -= 1
                self._queue.done(slot.owner)
                if self._queue.length:
                    self._serve()
            elif before == _WAITING:
                self._queue.remove(slot.owner, slot)
                self._outcomes["left"] += 1

    def change(self, limit: SlotLimit) -> None:
        with self.lock:
            self.limit = limit
            self._serve()

    def counts(self) -> SlotCounts:
        with self.lock:
            return SlotCounts(self.limit.open, self._open, len(self._queue), dict(self._outcomes))

    def is_idle(self) -> bool:
        with self.lock:
            return not (self._open or len(self._queue))


class StreamSlots:
    """The slots of all targets that have limits. Outlives every reload, as open requests do."""

    def __init__(self, limits: Mapping[str, SlotLimit] | None = None) -> None:
        self._lines: dict[str, _Line] = {}
        self._limited: frozenset[str] = frozenset()
        self.apply(limits or {})

    def apply(self, limits: Mapping[str, SlotLimit]) -> None:
        """Apply other limits. Open requests stay open, and count."""
        lines = dict(self._lines)
        for target, limit in limits.items():
            if target in lines:
                lines[target].change(limit)
            else:
                lines[target] = _Line(limit)
        self._lines = {
            target: line for target, line in lines.items() if target in limits or not line.is_idle()
        }
        self._limited = frozenset(limits)

    def limits(self, target: str) -> bool:
        """Return whether a target has limits."""
        return target in self._limited

    def enter(self, target: str, owner: Owner) -> Slot | None:
        """Return a slot, open or waiting; None if the target has no limits.

        Raises:
            Denied: ``TARGET_BUSY`` or ``USER_STREAMS``, if there is no use in waiting.
        """
        line = self._lines.get(target) if target in self._limited else None
        return line.enter(owner) if line is not None else None

    def counts(self) -> dict[str, SlotCounts]:
        """Return each limited target's counts by name."""
        lines, limited = self._lines, self._limited
        return {target: line.counts() for target, line in lines.items() if target in limited}
