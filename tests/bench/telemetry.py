"""What telling of a decision costs a warm request: ``python tests/bench/telemetry.py``.

A POST of 150 bytes of a known session, head and body, with everything on but traces.
"""

import asyncio
import inspect
import sys
import time
import timeit

import structlog

from extproc.ext_proc import encoding
from extproc.request.stream import Stream
from extproc.telemetry.audit import AuditLog
from extproc.telemetry.event import event_of, render
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.record import RequestRecord
from support.envoy_messages import body_message, headers_message
from support.pipelines import Parts
from support.telemetry import GRANT, head, identity, record

HEADERS = [
    ("accept", "application/json, text/event-stream"), ("accept-encoding", "gzip"),
    ("content-type", "application/json"), ("content-length", "150"), ("user-agent", "bench"),
    ("mcp-session-id", "0123456789abcdef"), ("mcp-protocol-version", "2025-11-25"),
    ("x-request-id", "6a1f3c1e-0000-4000-8000-000000000000"), ("x-forwarded-proto", "https"),
]  # fmt: skip


class Nowhere:
    """A sink that costs nothing."""

    def write(self, lines):
        pass

    def close(self):
        pass


def microseconds(function, number=5_000, repeat=15):
    return min(timeit.repeat(function, number=number, repeat=repeat)) / number * 1e6


async def warm(audit):
    """A warm request of a pipeline, as a function."""
    parts = Parts(audit=audit)
    messages = (headers_message(headers=HEADERS, token="eyJh." + "e" * 900 + ".c"), body_message(b"x" * 150))

    def request():
        stream = Stream(parts.pipeline, target_name=None)
        return [stream.receive(message) for message in messages]

    first = Stream(parts.pipeline, target_name=None)
    for message in messages:
        answer = first.receive(message)
        if inspect.isawaitable(answer):
            await answer
    first.close()
    return request


async def main():
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    log = AuditLog(sink=Nowhere(), max_queued=10_000)
    log.start()
    known = record(
        head=head(headers=HEADERS), identity=identity(jti="j"), grant=GRANT, access_key_id="A" * 20, cache="hit",
        own=1e-4, sign=1e-5, remaining=800.0,
    )  # fmt: skip
    metrics, event = Metrics(), event_of(known, "", time.time())

    def recorded():
        made = RequestRecord()
        made.resume()
        made.pause()
        made.resume()
        made.pause()

    quiet, audited = await warm(None), await warm(log)
    rows = [
        ("a record, its clock read five times", microseconds(recorded)),
        ("metrics", microseconds(lambda: metrics.decided(known))),
        ("event for the audit log", microseconds(lambda: event_of(known, "", time.time()))),
        ("dynamic metadata", microseconds(lambda: encoding.encode_metadata(known))),
        ("rendering (in the audit log's thread)", microseconds(lambda: render(event))),
        ("warm request, audit off", microseconds(quiet, 2_000)),
        ("warm request, audit on, its thread running", microseconds(audited, 2_000)),
    ]
    log.close()
    for name, cost in rows:
        sys.stdout.write(f"{name:45}{cost:8.2f} us\n")


if __name__ == "__main__":
    asyncio.run(main())
