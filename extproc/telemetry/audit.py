"""The audit log: one line with a JSON object for each decision, rendered and written by its own thread.

The request path only appends a tuple to a bounded queue. Events that do not fit into it, or cannot be
written, are dropped and counted: a sink that blocks never delays a signature. An event contains no token,
no secret, and only the few headers that ``telemetry.event`` names.
"""

import threading
import time
from collections import deque
from typing import Protocol

import structlog

from extproc.telemetry.event import Event, render
from extproc.telemetry.recent import RecentEvents

_LINGER = 0.02  # seconds to collect events: each time this thread runs, it interrupts the one that signs
_BATCH = 64 * 1024  # bytes a write
_WARN_EVERY = 10.0  # seconds

_log = structlog.get_logger(__name__)


class Sink(Protocol):
    """A destination of lines."""

    def write(self, lines: bytes) -> None:
        """Write whole lines; may block.

        Raises:
            OSError: they cannot be written.
        """
        ...

    def close(self) -> None:
        """Close what the sink has opened."""
        ...


class AuditLog:
    """A queue of at most ``max_queued`` events, and the thread that writes them.

    Attributes:
        recent: the last events, for the admin API; None if they are not kept.
    """

    def __init__(self, *, sink: Sink, max_queued: int, recent: RecentEvents | None = None) -> None:
        self.recent = recent
        self._sink = sink
        self._max_queued = max_queued
        self._queue: deque[Event] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._lock = threading.Lock()
        self._dropped = 0
        self._failed = 0
        self._written = 0
        self._warned_at = float("-inf")
        self._writer = threading.Thread(target=self._run, name="audit", daemon=True)

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def outcomes(self) -> dict[str, int]:
        """Events so far: written, dropped because the queue was full, or failed to be written."""
        return {"written": self._written, "dropped": self._dropped, "failed": self._failed}

    def append(self, event: Event) -> None:
        """Queue an event, or drop it if the queue is full. Never waits for the sink."""
        if len(self._queue) >= self._max_queued:
            with self._lock:
                self._dropped += 1
            return
        self._queue.append(event)
        if not self._wake.is_set():
            self._wake.set()

    def start(self) -> None:
        """Start writing."""
        self._writer.start()

    def close(self, *, within: float = 2.0) -> None:
        """Write what is queued, for at most ``within`` seconds. Events left then are lost, and logged so."""
        self._closing = True
        self._wake.set()
        self._writer.join(within)
        if self._queue:
            _log.error("audit_events_lost", events=len(self._queue))
        if not self._writer.is_alive():
            self._sink.close()

    def _run(self) -> None:
        while self._queue or not self._closing:
            self._wake.wait()
            if not self._closing:
                time.sleep(_LINGER)
            while self._queue:
                self._write_some()
            if self._closing:
                continue
            # Under load the event stays set, so that the request path need not set it for each event
            # (which takes a lock). It is cleared only after a pause without events.
            time.sleep(_LINGER)
            if not self._queue:
                self._wake.clear()
            # An event may have been appended before the clear, by a thread that saw it set. So look again.
            if self._queue or self._closing:
                self._wake.set()

    def _write_some(self) -> None:
        lines, events = bytearray(), 0
        while self._queue and len(lines) < _BATCH:
            event = self._queue.popleft()
            try:
                lines += render(event)
                events += 1
            except Exception as error:  # noqa: BLE001 - one event that cannot be rendered must not end the log
                self._count_failed(1, error)
        if self.recent is not None and events:
            self.recent.append(bytes(lines), events)
        try:
            self._sink.write(bytes(lines))
            self._written += events
        except OSError as error:
            self._count_failed(events, error)

    def _count_failed(self, events: int, error: Exception) -> None:
        self._failed += events
        now = time.monotonic()
        if now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            _log.error("audit_write_failed", error=type(error).__name__, failed=self._failed)
