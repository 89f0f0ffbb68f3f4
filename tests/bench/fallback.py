"""One process of our load generator: ``python -m bench.fallback PORT REQUESTS SECONDS CONNECTIONS``.

One thread, one selector, requests made beforehand. It understands just what Envoy answers: HTTP/1.1
with a content-length. Anything but a 2xx counts as a failure; a broken connection ends the process.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

from bench.stats import bucket

_MOST = 1 << 16  # bytes read at once


def prepared(path: Path) -> list[bytes]:
    """The requests of a file: each its length on a line, then its bytes."""
    requests = []
    with path.open("rb") as file:
        while length := file.readline():
            requests.append(file.read(int(length)))
    return requests


def response_length(received: bytes) -> int | None:
    """The whole response's length, as soon as its head has come.

    Raises:
        ValueError: the response does not say its length.
    """
    head, end, _ = received.partition(b"\r\n\r\n")
    if not end:
        return None
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return len(head) + 4 + int(value)
    raise ValueError("a response without content-length")


class _Connection:
    __slots__ = ("received", "sent_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)  # blocks for a large body only


def play(port: int, requests: list[bytes], *, seconds: float, connections: int) -> dict[str, object]:
    """Play the requests in turn until the time is over; answers that are still to come do not count."""
    selector = selectors.DefaultSelector()
    # Several processes must not all play the same user at the same time.
    upcoming = islice(cycle(requests), port % len(requests), None)
    everyone = [_Connection(port) for _ in range(connections)]
    latencies: Counter[int] = Counter()
    failures = 0
    started = time.perf_counter()
    until = started + seconds
    try:
        for connection in everyone:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(next(upcoming))
        while (now := time.perf_counter()) < until:
            for key, _ in selector.select(until - now):
                connection = key.data
                chunk = connection.socket.recv(_MOST)
                if not chunk:
                    raise ConnectionError("the server closed a connection")
                connection.received += chunk
                length = response_length(connection.received)
                if length is None or len(connection.received) < length:
                    continue
                latencies[bucket(int((time.perf_counter() - connection.sent_at) * 1e6))] += 1
                failures += connection.received[9:10] != b"2"  # HTTP/1.1 2xx
                connection.received = b""
                connection.send(next(upcoming))
    finally:
        selector.close()
        for connection in everyone:
            connection.socket.close()
    return {
        "seconds": time.perf_counter() - started,
        "failures": failures,
        "latencies": dict(latencies),
    }


def main() -> None:
    """Play, and print what was seen as JSON."""
    port, path, seconds, connections = sys.argv[1:]
    seen = play(int(port), prepared(Path(path)), seconds=float(seconds), connections=int(connections))
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
