"""What Envoy says to us about the request of the benchmark, as it says it."""

from bench.world import BODY
from extproc.ext_proc.envoy.base_pb2 import HeaderMap, HeaderValue
from extproc.ext_proc.envoy.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProtocolConfiguration,
)
from extproc.ext_proc.envoy.processing_mode_pb2 import ProcessingMode

_HEADERS = (
    (":authority", "mcp.example"),
    (":path", "/mcp"),
    (":method", "POST"),
    (":scheme", "http"),
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
    entries = (*_HEADERS, ("authorization", f"Bearer {token}"))
    headers = HeaderMap(headers=[HeaderValue(key=name, raw_value=value.encode()) for name, value in entries])
    mode = ProtocolConfiguration(
        request_body_mode=ProcessingMode.BUFFERED, response_body_mode=ProcessingMode.NONE
    )
    message = ProcessingRequest(request_headers=HttpHeaders(headers=headers), protocol_config=mode)
    return bytes(message.SerializeToString())


def body_message(body: bytes) -> bytes:
    """The message with the whole body."""
    message = ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=True))
    return bytes(message.SerializeToString())


def body_of(size: int) -> bytes:
    """A JSON-RPC message of about that many bytes."""
    return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"text":"' + b"x" * max(0, size - 61) + b'"}}'


BODY_MESSAGE = body_message(BODY)
