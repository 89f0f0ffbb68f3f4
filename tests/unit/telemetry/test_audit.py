"""The queue never waits for the sink, counts lost events, and is written at the end."""

import json
import threading
import time

from extproc.telemetry.audit import AuditLog
from extproc.telemetry.event import event_of
from support.telemetry import record


class MemorySink:
    def __init__(self):
        self.data = b""
        self.open = threading.Event()
        self.open.set()
        self.failure = None
        self.entered = threading.Event()
        self.closed = False

    def write(self, lines):
        self.entered.set()
        assert self.open.wait(30)
        if self.failure is not None:
            raise self.failure
        self.data += lines

    def close(self):
        self.closed = True

    @property
    def lines(self):
        return [json.loads(line) for line in self.data.splitlines()]


def event(number=0):
    return event_of(record(), str(number), 0.0)


def test_events_are_written_in_order_and_close_waits_for_them():
    sink = MemorySink()
    log = AuditLog(sink=sink, max_queued=1000)
    log.start()
    for number in range(500):
        log.append(event(number))
    log.close()
    assert [line["detail"] for line in sink.lines] == [str(number) for number in range(500)]
    assert log.outcomes == {"written": 500, "dropped": 0, "failed": 0}
    assert sink.closed


def test_events_are_written_without_being_asked_to():
    sink = MemorySink()
    log = AuditLog(sink=sink, max_queued=10)
    log.start()
    for number in range(3):
        sink.entered.clear()
        log.append(event(number))
        assert sink.entered.wait(30)
    log.close()


def test_a_blocked_sink_does_not_block_and_drops_are_counted():
    sink = MemorySink()
    sink.open.clear()
    log = AuditLog(sink=sink, max_queued=10)
    log.start()
    log.append(event())
    assert sink.entered.wait(30)  # the thread is stuck in the sink
    threads = [threading.Thread(target=lambda: [log.append(event()) for _ in range(100)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert len(log) <= 11  # two threads may both have seen the last free slot
    kept = len(log)
    assert log.outcomes["dropped"] == 200 - kept
    sink.open.set()
    log.close()
    assert log.outcomes["written"] == kept + 1


def test_closing_does_not_wait_for_a_stuck_sink_for_ever():
    sink = MemorySink()
    sink.open.clear()
    log = AuditLog(sink=sink, max_queued=10)
    log.start()
    log.append(event())
    assert sink.entered.wait(30)
    log.append(event())
    log.close(within=0.05)
    assert not sink.closed
    sink.open.set()


def test_a_failing_sink_is_counted_and_tried_again():
    sink = MemorySink()
    sink.failure = OSError(28, "No space left on device")
    log = AuditLog(sink=sink, max_queued=10)
    log.start()
    log.append(event())
    assert sink.entered.wait(30)
    while not log.outcomes["failed"]:
        time.sleep(0.001)
    sink.failure = None
    log.append(event())
    log.close()
    assert log.outcomes == {"written": 1, "dropped": 0, "failed": 1}


def test_an_event_that_cannot_be_rendered_does_not_end_the_log():
    sink = MemorySink()
    log = AuditLog(sink=sink, max_queued=10)
    log.start()
    log.append(event()._replace(at=float("nan")))
    log.append(event())
    log.close()
    assert log.outcomes == {"written": 1, "dropped": 0, "failed": 1}
