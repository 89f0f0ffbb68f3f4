"""HTTP clients for end-to-end tests: one that can do anything, one for raw bytes."""

import functools
import socket
import ssl
import time

import h2.config
import h2.connection
import h2.events
import httpx2


@functools.cache
def _tls():
    """Return what every client has: reading the certificate authorities takes as long as twenty requests."""
    return ssl.create_default_context()


def client(*, http2=False, token=None, timeout=30.0):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx2.AsyncClient(
        http1=not http2,
        http2=http2,
        headers=headers,
        timeout=timeout,
        verify=_tls(),
        limits=httpx2.Limits(max_connections=64),
    )


def raw(address: str, request: bytes, *, timeout=10.0) -> bytes:
    """Send bytes as they are; return what comes until the peer closes."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(request)
        received = bytearray()
        while chunk := connection.recv(65536):
            received += chunk
        return bytes(received)


def http2_exchange(address: str, frames, *, left_open=False, timeout=10.0):
    """Send one HTTP/2 request as the given frames; return its status, or None if the stream was reset.

    Frames are header lists (the first is the head, a later one trailers) or bytes of DATA;
    the last one ends the stream, unless it is ``left_open``. For what no client library sends.
    """
    host, _, port = address.rpartition(":")
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    with socket.create_connection((host, int(port)), timeout=timeout) as link:
        connection.initiate_connection()
        for position, frame in enumerate(frames):
            last = position == len(frames) - 1 and not left_open
            if isinstance(frame, bytes):
                connection.send_data(1, frame, end_stream=last)
            else:
                connection.send_headers(1, frame, end_stream=last)
            link.sendall(connection.data_to_send())
            time.sleep(0.05)  # frame by frame: the server is to see each of them alone
        status = None
        while chunk := link.recv(65536):
            for event in connection.receive_data(chunk):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[":status"])
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    return status
            link.sendall(connection.data_to_send())
    return status
