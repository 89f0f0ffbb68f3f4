"""Event streams that a test holds open through the gateway, and what extproc counts of them."""

import contextlib
import json
import re
import socket
import threading
import time

import h2.config
import h2.connection
import h2.events


class HeldStream:
    """One request over a connection of its own; ``status`` is there once it is answered."""

    def __init__(self, stack, token, path, *, method="GET", body=b"", envoy=None):
        host, _, port = (envoy or stack.addresses.envoy).rpartition(":")
        self.received = b""
        self.answered = threading.Event()
        self.ended = threading.Event()
        self._link = socket.create_connection((host, int(port)), timeout=60)
        head = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", "Connection: close"]
        head.append("Accept: application/json, text/event-stream")
        if body:
            head += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
        self._link.sendall("\r\n".join([*head, "", ""]).encode() + body)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(OSError):
            while chunk := self._link.recv(65536):
                self.received += chunk
                self.answered.set()
        self.answered.set()
        self.ended.set()

    @property
    def status(self):
        assert self.answered.wait(60)
        return int(self.received[9:12] or 0)

    @property
    def head(self):
        lines = self.received.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def json(self):
        assert self.ended.wait(60)
        return json.loads(self.received.partition(b"\r\n\r\n")[2])

    def leave(self):
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._link.close()


@contextlib.contextmanager
def held(stack, token, count, path, **options):
    """So many requests at once; whatever they still are, they end with the test."""
    with contextlib.ExitStack() as cleanup:
        streams = [HeldStream(stack, token, path, **options) for _ in range(count)]
        for stream in streams:
            cleanup.callback(stream.leave)
        yield streams


def open_and_reset(stack, token, path, count, *, held_for):
    """Open so many streams on one HTTP/2 connection, and reset each after ``held_for`` seconds; how many were."""
    host, _, port = stack.addresses.envoy.rpartition(":")
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    head = [
        (":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path),
        ("authorization", f"Bearer {token}"),
    ]  # fmt: skip
    done = 0
    with socket.create_connection((host, int(port)), timeout=10) as link:
        connection.initiate_connection()
        # So many at a time that some are open, some wait, and some are not yet decided.
        for _ in range(count // 25):
            streams = [connection.get_next_available_stream_id() + 2 * number for number in range(25)]
            for stream in streams:
                connection.send_headers(stream, head, end_stream=True)
            link.sendall(connection.data_to_send())
            time.sleep(held_for)
            for stream in streams:
                connection.reset_stream(stream)
            link.sendall(connection.data_to_send())
            done += len(streams)
        _until_seen(connection, link)
    return done


def _until_seen(connection, link):
    """Wait until the peer has read all that was sent, or has closed: what is unread would be lost with the link."""
    connection.ping(b"all seen")
    link.sendall(connection.data_to_send())
    with contextlib.suppress(ConnectionError):
        while chunk := link.recv(65536):
            if any(isinstance(event, h2.events.PingAckReceived) for event in connection.receive_data(chunk)):
                return


def counted(stack, kind, target="aws-mcp"):
    """A metric of the target's slots, over all workers."""
    text = stack.http.request("GET", f"http://{stack.addresses.extproc_admin}/metrics").data.decode()
    name = "extproc_target_waits_total" if kind in ("served", "busy", "user_busy", "left") else None
    found = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(name or f"extproc_target_requests_{kind}{{")
        and f'target="{target}"' in line
        and (name is None or re.search(f'outcome="{kind}"', line))
    ]
    assert found
    return sum(found)


def until_counted(stack, kind, expected, *, within=20.0):
    """Wait until the metric has a value."""
    until = time.monotonic() + within
    while (seen := counted(stack, kind)) != expected:
        assert time.monotonic() < until, f"{kind} is {seen}, not {expected}"
        time.sleep(0.02)
