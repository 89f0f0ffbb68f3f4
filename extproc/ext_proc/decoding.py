"""Decode Envoy's messages to values. Which message may come when, ``request.phases`` decides.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
"""

from dataclasses import dataclass, field
from typing import Any

from extproc import struct_values
from extproc.authn.envoy_jwt import METADATA_NAMESPACE, PAYLOAD_KEY
from extproc.errors import Denied, Reason
from extproc.ext_proc import wire
from extproc.ext_proc.envoy.external_processor_pb2 import HttpBody, ProcessingRequest
from extproc.ext_proc.envoy.processing_mode_pb2 import ProcessingMode
from extproc.signing.rejections import UpstreamResponse
from extproc.values import RequestHead


@dataclass(slots=True)
class HeadersMessage:
    """The request's head; ``body_is_buffered``: Envoy will send the whole body in one message."""

    head: RequestHead
    body_is_buffered: bool


@dataclass(slots=True)
class BodyMessage:
    """The request's whole body."""

    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ResponseBodyMessage:
    """The upstream's body: all of it, or a part of it if it was asked for in parts."""

    body: bytes = field(repr=False)
    is_last: bool


@dataclass(frozen=True, slots=True)
class TrailersMessage:
    """The request's trailers have come: there will be no body, or no more of it."""


@dataclass(frozen=True, slots=True)
class ResponseTrailersMessage:
    """The upstream's trailers have come: its response is at its end."""


Message = (
    HeadersMessage
    | BodyMessage
    | TrailersMessage
    | UpstreamResponse
    | ResponseBodyMessage
    | ResponseTrailersMessage
)


def decode(message: bytes, *, target_name: str | None, with_jwt_payload: bool = False) -> Message:
    """Decode one message of Envoy's; ``with_jwt_payload``: also what its jwt_authn verified.

    Raises:
        Denied: ``PROTOCOL_VIOLATION`` for what cannot be parsed or was not asked for.
    """
    try:
        request = ProcessingRequest.FromString(message)
    except Exception:  # noqa: BLE001 - the protobuf runtime's DecodeError
        raise Denied(Reason.PROTOCOL_VIOLATION, "not a ProcessingRequest") from None
    kind = request.WhichOneof("request")
    if kind == "request_headers":
        if request.observability_mode:  # the same in every message of a stream, and this is the first
            raise Denied(Reason.PROTOCOL_VIOLATION, "observability mode ignores our answers")
        mode = request.protocol_config.request_body_mode
        return HeadersMessage(
            head=_head(
                request.request_headers, target_name, _jwt_payload(request) if with_jwt_payload else None
            ),
            body_is_buffered=mode == ProcessingMode.BUFFERED,
        )
    if kind == "request_body":
        # end_of_stream is false when trailers follow, although the body is complete.
        return BodyMessage(request.request_body.body)
    if kind == "request_trailers":
        return TrailersMessage()
    if kind == "response_headers":
        return _response(request.response_headers)
    if kind == "response_body":
        return ResponseBodyMessage(request.response_body.body, bool(request.response_body.end_of_stream))
    if kind == "response_trailers":
        return ResponseTrailersMessage()
    raise Denied(Reason.PROTOCOL_VIOLATION, f"unexpected message {kind}")


_BODY_FIELD = wire.tag(ProcessingRequest, "request_body")
_CONTENT_FIELD = wire.tag(HttpBody, "body")
_END = HttpBody(end_of_stream=True).SerializeToString()
_SHORTEST, _LONGEST = 128, 4000  # bytes of bodies whose length, and their messages', takes two bytes


def plain_body(message: bytes) -> bytes | None:
    """Return the body of a message that has nothing else, as Envoy writes most; None for any other message.

    What stands around the body must be what it has to be for a body of this length, byte for byte. So
    ``decode`` reads the same, with objects of protobuf's runtime for each message.
    """
    length = len(message) - 8
    if _SHORTEST <= length <= _LONGEST and message.endswith(_END):
        inner = _CONTENT_FIELD + wire.LENGTHS[length]
        if message.startswith(_BODY_FIELD + wire.LENGTHS[length + 5] + inner):
            return message[6:-2]
    return None


_RESPONSE_HEADERS_READ = frozenset(
    {":status", "x-amzn-errortype", "content-type", "content-length", "content-encoding"}
)


def _response(message: Any) -> UpstreamResponse:
    headers = {
        header.key: header.raw_value.decode("latin-1") or header.value
        for header in message.headers.headers
        if header.key in _RESPONSE_HEADERS_READ
    }
    # AWS may add the shape's address behind a colon: "ExpiredTokenException:http://…".
    error_type = headers.get("x-amzn-errortype", "").partition(":")[0]
    length = headers.get("content-length")
    return UpstreamResponse(
        status=_number(headers.get(":status", "")) or 0,
        error_type=error_type or None,
        content_type=headers.get("content-type", "").partition(";")[0].strip().lower(),
        content_length=None if length is None else _number(length),
        encoded=headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"),
        has_body=not message.end_of_stream,
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else None  # noqa: PLR2004


def _jwt_payload(request: Any) -> dict[str, Any] | None:
    """Return the claims that jwt_authn verified, if any. Only Envoy's filters write this metadata."""
    metadata = request.metadata_context.filter_metadata
    if METADATA_NAMESPACE not in metadata:
        return None
    payload = struct_values.plain(metadata[METADATA_NAMESPACE]).get(PAYLOAD_KEY)
    return payload if isinstance(payload, dict) else None


def _head(message: object, target_name: str | None, jwt_payload: dict[str, Any] | None) -> RequestHead:
    # Header bytes are opaque (RFC 9110 5.5); Latin-1 maps each of them to one character and back.
    headers = [
        (header.key, header.raw_value.decode("latin-1") or header.value)
        for header in message.headers.headers  # type: ignore[attr-defined]
    ]
    # Pseudo-headers come first (RFC 9113 8.3), and Envoy sees to it.
    first = 0
    while first < len(headers) and headers[first][0][:1] == ":":
        first += 1
    pseudo = dict(headers[:first])
    return RequestHead(
        pseudo.get(":method", ""),
        pseudo.get(":path", ""),
        pseudo.get(":authority", ""),
        tuple(headers[first:]),
        not message.end_of_stream,  # type: ignore[attr-defined]
        target_name,
        jwt_payload,
    )
