"""What Envoy says to us about the request of the benchmark, as it says it."""

from bench.world import BODY
from support.envoy_messages import body_message, headers_message

_HEADERS = (
    ("accept", "application/json, text/event-stream"),
    ("content-type", "application/json"),
    ("mcp-protocol-version", "2025-11-25"),
    ("mcp-session-id", "0123456789abcdef0123456789abcdef"),
    ("user-agent", "bench"),
    ("content-length", "150"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "http"),
    ("x-envoy-external-address", "127.0.0.1"),
    ("x-request-id", "2f8f3a60-5b3e-4c2e-9f7a-0d2f6b1f4f53"),
)


def head_message(token: str) -> bytes:
    """The message with the head, of a request whose body is still to come."""
    return headers_message(token=token, authority="mcp.example", headers=_HEADERS)


def body_of(size: int) -> bytes:
    """A JSON-RPC message of about that many bytes."""
    return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"text":"' + b"x" * max(0, size - 61) + b'"}}'


BODY_MESSAGE = body_message(BODY)
