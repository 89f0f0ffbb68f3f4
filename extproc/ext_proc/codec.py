"""Envoy's protobuf messages to our values and back. Knows the wire, decides nothing.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from google.protobuf.struct_pb2 import Struct, Value

from extproc import struct_values
from extproc.authn.envoy_jwt import METADATA_NAMESPACE, PAYLOAD_KEY
from extproc.errors import Denied, Reason
from extproc.ext_proc import wire
from extproc.ext_proc.envoy.base_pb2 import HeaderValue, HeaderValueOption
from extproc.ext_proc.envoy.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    ProcessingRequest,
    ProcessingResponse,
    TrailersResponse,
)
from extproc.ext_proc.envoy.external_processor_pb2 import (
    ImmediateResponse as ImmediateResponseMessage,
)
from extproc.ext_proc.envoy.processing_mode_pb2 import ProcessingMode
from extproc.signing.rejections import UpstreamResponse
from extproc.telemetry.record import RequestRecord
from extproc.values import Allow, ImmediateResponse, RequestHead

DECISION_NAMESPACE = "extproc"
DETAILS_PREFIX = "extproc_"  # of what Envoy calls the response code's details, for our own replies
"""The namespace of the dynamic metadata that comes with every decision."""


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


_REQUEST_HEADERS = wire.tag(ProcessingResponse, "request_headers")
_DYNAMIC_METADATA = wire.tag(ProcessingResponse, "dynamic_metadata")
_FIELDS = wire.tag(Struct, "fields")
_STRUCT_VALUE = wire.tag(Value, "struct_value")
_MAP_KEY, _MAP_VALUE = b"\x0a", b"\x12"  # of a map's entries: fields 1 and 2
_NUMBER = struct.Struct("<d")
_METADATA_TEXTS = ("subject", "role_arn", "mapping", "access_key_id", "cache", "decision", "reason")
_TEXT = 1024  # characters of a text in metadata
_REQUEST_BODY = wire.tag(ProcessingResponse, "request_body")
_HEADERS_RESPONSE = wire.tag(HeadersResponse, "response")
_BODY_RESPONSE = wire.tag(BodyResponse, "response")
_HEADER_MUTATION = wire.tag(CommonResponse, "header_mutation")
_BODY_MUTATION = wire.tag(CommonResponse, "body_mutation")
_BODY = wire.tag(BodyMutation, "body")
_SET_HEADERS = wire.tag(HeaderMutation, "set_headers")
_HEADER = wire.tag(HeaderValueOption, "header")
_RAW_VALUE = wire.tag(HeaderValue, "raw_value")
_OVERWRITE = HeaderValueOption(append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD).SerializeToString()


Message = (
    HeadersMessage
    | BodyMessage
    | TrailersMessage
    | UpstreamResponse
    | ResponseBodyMessage
    | ResponseTrailersMessage
)


def decode(message: bytes, *, target_name: str | None, with_jwt_payload: bool = False) -> Message:
    """Read one message of Envoy's; ``with_jwt_payload``: also what its jwt_authn filter verified.

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


_LOOKED_AT = frozenset({":status", "x-amzn-errortype", "content-type", "content-length", "content-encoding"})


def _response(message: Any) -> UpstreamResponse:
    headers = {
        header.key: header.raw_value.decode("latin-1") or header.value
        for header in message.headers.headers
        if header.key in _LOOKED_AT
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
    """The claims that jwt_authn verified, if it verified any. Only Envoy's filters write this metadata."""
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


@lru_cache(maxsize=64)
def encode_continue(removed: tuple[str, ...]) -> bytes:
    """Go on to the body, without the headers that must never leave unsigned: ``removed``."""
    mutation = HeaderMutation(remove_headers=removed)
    response = ProcessingResponse(
        request_headers=HeadersResponse(response=CommonResponse(header_mutation=mutation))
    )
    return bytes(response.SerializeToString())


def encode_body_continue() -> bytes:
    """Let a body pass that the signature does not cover."""
    response = ProcessingResponse(request_body=BodyResponse(response=CommonResponse()))
    return bytes(response.SerializeToString())


def encode_trailers_continue() -> bytes:
    """Let the trailers of a signed request pass."""
    return bytes(ProcessingResponse(request_trailers=TrailersResponse()).SerializeToString())


def encode_response_trailers_continue() -> bytes:
    """Let the trailers of the upstream's response pass, unchanged."""
    return bytes(ProcessingResponse(response_trailers=TrailersResponse()).SerializeToString())


def encode_mode_override(
    *, body_mode: Literal["NONE", "BUFFERED", "STREAMED"] = "NONE", trailers: bool = False
) -> bytes:
    """Show us the upstream's response too: its head, and its body in another ``body_mode`` than NONE.

    To be added to an answer to a head. Envoy takes only modes that its ``allowed_override_modes`` lists, so
    all of a mode's fields are set; those of the request, and ``trailers``, are as they are rendered.
    """
    mode = ProcessingMode(
        request_header_mode=ProcessingMode.SEND,
        request_body_mode=ProcessingMode.BUFFERED,
        request_trailer_mode=ProcessingMode.SEND,
        response_header_mode=ProcessingMode.SEND,
        response_body_mode=body_mode,
        response_trailer_mode=ProcessingMode.SEND if trailers else ProcessingMode.SKIP,
    )
    return bytes(ProcessingResponse(mode_override=mode).SerializeToString())


def encode_response_continue(
    *, body_mode: Literal["NONE", "BUFFERED", "STREAMED"] = "NONE", trailers: bool = False
) -> bytes:
    """Let the upstream's response pass, unchanged; with another ``body_mode`` also show us its body."""
    response = ProcessingResponse(response_headers=HeadersResponse(response=CommonResponse()))
    wish = encode_mode_override(body_mode=body_mode, trailers=trailers) if body_mode != "NONE" else b""
    return bytes(response.SerializeToString()) + wish


def encode_response_body_continue() -> bytes:
    """Let the upstream's body, or this part of it, pass unchanged."""
    response = ProcessingResponse(response_body=BodyResponse(response=CommonResponse()))
    return bytes(response.SerializeToString())


def encode_allow(allow: Allow, *, to_body: bool) -> bytes:
    """Return the mutation as the answer to the head or to the body. A new body fits the latter only.

    Most answers of a second differ in the signature alone. What stands around it is kept with the headers
    that these answers share, which it contains, and ends with them.
    """
    alike = allow.set_alike
    if alike is None or allow.body is not None or len(allow.set) != 1:
        return _encode_allow(allow, to_body=to_body)
    ((name, text),) = allow.set
    value = text.encode("latin-1")
    shape = name, len(value), allow.remove, to_body
    around = alike.around
    if around is None or around[0] != shape:
        whole = _encode_allow(allow, to_body=to_body)
        entry = _key(name) + wire.field(_RAW_VALUE, value)  # the first header that is set
        end = whole.index(entry) + len(entry)
        around = alike.around = shape, whole[: end - len(value)], whole[end:]
    return around[1] + value + around[2]


def _encode_allow(allow: Allow, *, to_body: bool) -> bytes:
    """Encode field by field: building it as message objects takes several times as long as signing."""
    mutation = _set_headers(allow.set) + _remove_headers(allow.remove)
    if allow.set_alike is not None:
        mutation += _set_headers(allow.set_alike.pairs)
    common = wire.field(_HEADER_MUTATION, mutation)
    if to_body:
        if allow.body is not None:
            common += wire.field(_BODY_MUTATION, wire.field(_BODY, allow.body))
        return wire.field(_REQUEST_BODY, wire.field(_BODY_RESPONSE, common))
    return wire.field(_REQUEST_HEADERS, wire.field(_HEADERS_RESPONSE, common))


def _set_headers(headers: Iterable[tuple[str, str]]) -> bytes:
    encoded = b""
    for name, value in headers:
        header = _key(name) + wire.field(_RAW_VALUE, value.encode("latin-1"))
        encoded += wire.field(_SET_HEADERS, wire.field(_HEADER, header) + _OVERWRITE)
    return encoded


@lru_cache(maxsize=64)
def _key(name: str) -> bytes:
    return bytes(HeaderValue(key=name).SerializeToString())


@lru_cache(maxsize=64)
def _remove_headers(names: tuple[str, ...]) -> bytes:
    return bytes(HeaderMutation(remove_headers=names).SerializeToString())


def encode_immediate_response(reply: ImmediateResponse) -> bytes:
    """An answer to the client in place of the upstream's. Without a status Envoy would make it a 200."""
    immediate = ImmediateResponseMessage(
        headers=HeaderMutation(set_headers=[_set(name, value) for name, value in reply.headers]),
        body=reply.body,
        details=DETAILS_PREFIX + (reply.reason.value if reply.reason else "reply"),
    )
    immediate.status.code = reply.status
    return bytes(ProcessingResponse(immediate_response=immediate).SerializeToString())


def encode_metadata(record: RequestRecord) -> bytes:
    """A decision as dynamic metadata; to be added to any answer, since fields may stand in any order."""
    identity, grant = record.identity, record.grant
    texts = (
        identity.subject if identity else None,
        grant.assumed_role_arn if grant else None,
        grant.mapping if grant else None,
        record.access_key_id,
        record.cache,
        record.decision,
        record.reason,
    )
    return _metadata(texts) + _NUMBER.pack(round(record.own * 1_000_000))


@lru_cache(maxsize=4096)
def _metadata(texts: tuple[str | None, ...]) -> bytes:
    """All but the eight bytes of ``duration_us``, which is last, and as long every time."""
    members = Struct()
    for name, text in zip(_METADATA_TEXTS, texts, strict=True):
        if text:
            # A claim may have a lone surrogate, which protobuf has no way to write.
            members.fields[name].string_value = text[:_TEXT].encode(errors="replace").decode()
    number = Value(number_value=0.0).SerializeToString()
    duration = wire.field(_FIELDS, wire.field(_MAP_KEY, b"duration_us") + wire.field(_MAP_VALUE, number))
    ours = wire.field(_STRUCT_VALUE, members.SerializeToString() + duration)
    namespace = wire.field(_MAP_KEY, DECISION_NAMESPACE.encode()) + wire.field(_MAP_VALUE, ours)
    return wire.field(_DYNAMIC_METADATA, wire.field(_FIELDS, namespace))[: -_NUMBER.size]


def _set(name: str, value: str) -> HeaderValueOption:
    # raw_value: Envoy takes `value` for an empty header. `append` stays unset: it alone decides in 1.40.
    return HeaderValueOption(
        header=HeaderValue(key=name, raw_value=value.encode("latin-1")),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
