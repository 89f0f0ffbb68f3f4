"""HTTP clients for end-to-end tests: one that can do anything, one for raw bytes."""

import socket

import httpx2


def client(*, http2=False, token=None, timeout=30.0):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx2.AsyncClient(
        http1=not http2,
        http2=http2,
        headers=headers,
        timeout=timeout,
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
