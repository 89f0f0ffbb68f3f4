"""Encode answers to Envoy: the bytes of every message that a stream sends, and its dynamic metadata.

The mutation and the metadata, which differ in every request, are written field by field (``ext_proc.wire``).
https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
"""

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from google.protobuf.struct_pb2 import Struct, Value

from extproc.ext_proc import wire
from extproc.ext_proc.envoy.base_pb2 import HeaderValue, HeaderValueOption
from extproc.ext_proc.envoy.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    ProcessingResponse,
    TrailersResponse,
)
from extproc.ext_proc.envoy.external_processor_pb2 import ImmediateResponse as ImmediateResponseMessage
from extproc.ext_proc.envoy.processing_mode_pb2 import ProcessingMode
from extproc.telemetry.record import RequestRecord
from extproc.values import Allow, ImmediateResponse, SharedHeaders

DECISION_NAMESPACE = "extproc"
"""The namespace of the dynamic metadata that comes with every decision."""
DETAILS_PREFIX = "extproc_"
"""What Envoy's response code details begin with when the response is extproc's own."""

_REQUEST_HEADERS = wire.tag(ProcessingResponse, "request_headers")
_DYNAMIC_METADATA = wire.tag(ProcessingResponse, "dynamic_metadata")
_FIELDS = wire.tag(Struct, "fields")
_STRUCT_VALUE = wire.tag(Value, "struct_value")
_MAP_KEY, _MAP_VALUE = b"\x0a", b"\x12"  # of a map's entries: fields 1 and 2
_NAMESPACE = wire.field(_MAP_KEY, DECISION_NAMESPACE.encode())
_NUMBER = struct.Struct("<d")
_STRING_VALUE = wire.tag(Value, "string_value")
_MAX_STRING = 1024  # characters of a string in metadata
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
_TO_BODY = _HEADER_MUTATION, _BODY_RESPONSE, _REQUEST_BODY  # from the inside out
_TO_HEAD = _HEADER_MUTATION, _HEADERS_RESPONSE, _REQUEST_HEADERS
_LONGEST_KEPT = 8 * 1024  # bytes of an answer that is kept as long as the credentials; few have 3 KiB


def encode_continue(removed: tuple[str, ...]) -> bytes:
    """Ask Envoy for the body, and take off the headers that must never leave unsigned: ``removed``."""
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
    """Ask Envoy for the upstream's response too: its head, and its body unless ``body_mode`` is NONE.

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


def encode_request_mode() -> bytes:
    """Ask Envoy for the whole body and the trailers of the request, and for the end of the response.

    To be added to "continue". Envoy takes it where ``allow_mode_override`` is true and no
    ``allowed_override_modes`` excludes it, and ignores it elsewhere. Without it an Envoy that is not
    configured to send trailers would forward a request of headers and trailers unsigned.
    """
    mode = ProcessingMode(
        request_header_mode=ProcessingMode.SEND,
        request_body_mode=ProcessingMode.BUFFERED,
        request_trailer_mode=ProcessingMode.SEND,
        response_header_mode=ProcessingMode.SKIP,  # by default it would be sent
        response_trailer_mode=ProcessingMode.SEND,
    )
    return bytes(ProcessingResponse(mode_override=mode).SerializeToString())


def encode_response_continue(
    *, body_mode: Literal["NONE", "BUFFERED", "STREAMED"] = "NONE", trailers: bool = False
) -> bytes:
    """Let the upstream's response pass, unchanged; ask for its body unless ``body_mode`` is NONE."""
    response = ProcessingResponse(response_headers=HeadersResponse(response=CommonResponse()))
    wish = encode_mode_override(body_mode=body_mode, trailers=trailers) if body_mode != "NONE" else b""
    return bytes(response.SerializeToString()) + wish


def encode_response_body_continue() -> bytes:
    """Let the upstream's body, or this part of it, pass unchanged."""
    response = ProcessingResponse(response_body=BodyResponse(response=CommonResponse()))
    return bytes(response.SerializeToString())


def encode_response_body(body: bytes) -> bytes:
    """Replace the upstream's body, which Envoy holds back as a whole."""
    mutation = BodyMutation(body=body)
    response = ProcessingResponse(
        response_body=BodyResponse(
            response=CommonResponse(
                header_mutation=HeaderMutation(set_headers=[_set("content-length", str(len(body)))]),
                body_mutation=mutation,
            )
        )
    )
    return bytes(response.SerializeToString())


def encode_identity_coding() -> bytes:
    """Ask the upstream for a body without a coding. To be added to the answer to the request's body."""
    mutation = HeaderMutation(
        remove_headers=["accept-encoding"], set_headers=[_set("accept-encoding", "identity")]
    )
    response = ProcessingResponse(
        request_body=BodyResponse(response=CommonResponse(header_mutation=mutation))
    )
    return bytes(response.SerializeToString())


def encode_allow(allow: Allow, *, to_body: bool) -> bytes:
    """Encode the mutation as the answer to the head or to the body. A new body fits the latter only.

    The answers of one second for one session usually differ in the signature alone. The bytes before and
    after it are kept with the headers that these answers share: they contain a session token, as those do,
    and end with them.
    """
    alike = allow.set_alike
    if alike is None or allow.body is not None or len(allow.set) != 1:
        return _encode_allow(allow, to_body=to_body)
    ((name, string),) = allow.set
    value = string.encode("latin-1")
    shape = name, len(value), allow.remove, to_body
    around = alike.around
    if around is None or around[0] != shape:
        before, after = _around_value(shape, alike)
        if len(before) + len(after) > _LONGEST_KEPT:  # clients choose which headers are to be removed
            return b"".join((before, value, after))
        around = alike.around = shape, before, after
    return b"".join((around[1], value, around[2]))


def _around_value(shape: tuple[str, int, tuple[str, ...], bool], alike: SharedHeaders) -> tuple[bytes, bytes]:
    """Return what ``_encode_allow`` writes before and after the value of the one header that differs.

    Written from the inside out, so that what comes after the value, the session token too, is copied once.
    """
    name, length, removed, to_body = shape
    before = _before_raw_value(name, length)
    after = b"".join((_OVERWRITE, _remove_headers(removed), *_parts(alike.pairs)))
    for tag in _TO_BODY if to_body else _TO_HEAD:
        before = wire.begun(tag, len(before) + length + len(after), before)
    return before, after


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
    return b"".join(_parts(headers))


def _parts(headers: Iterable[tuple[str, str]]) -> list[bytes]:
    parts: list[bytes] = []
    for name, value in headers:
        raw = value.encode("latin-1")
        parts += _before_raw_value(name, len(raw)), raw, _OVERWRITE
    return parts


def _before_raw_value(name: str, length: int) -> bytes:
    """Encode a header to set, as far as its value of ``length`` bytes."""
    before = _key(name) + wire.begun(_RAW_VALUE, length, b"")
    before = wire.begun(_HEADER, len(before) + length, before)
    return wire.begun(_SET_HEADERS, len(before) + length + len(_OVERWRITE), before)


@lru_cache(maxsize=64)
def _key(name: str) -> bytes:
    return bytes(HeaderValue(key=name).SerializeToString())


@lru_cache(maxsize=64)
def _remove_headers(names: tuple[str, ...]) -> bytes:
    return bytes(HeaderMutation(remove_headers=names).SerializeToString())


def encode_immediate_response(response: ImmediateResponse) -> bytes:
    """Encode an answer to the client itself. Without a status Envoy would make it a 200."""
    immediate = ImmediateResponseMessage(
        headers=HeaderMutation(set_headers=[_set(name, value) for name, value in response.headers]),
        body=response.body,
        details=DETAILS_PREFIX + (response.reason.value if response.reason else "reply"),
    )
    immediate.status.code = response.status
    return bytes(ProcessingResponse(immediate_response=immediate).SerializeToString())


def encode_metadata(record: RequestRecord) -> bytes:
    """Encode a decision as dynamic metadata. Append it to any answer: fields may stand in any order."""
    if record.shared is None or record.reason:
        encoded = _metadata(record)
    else:
        encoded = _metadata_of_signed(record, record.shared)
    return encoded + _NUMBER.pack(round(record.own * 1_000_000))


def _metadata_of_signed(record: RequestRecord, shared: SharedHeaders) -> bytes:
    """Return what the signed requests of a second and session mostly have in common."""
    known = shared.metadata
    if (
        known is not None
        and known[0] is record.identity
        and known[1] is record.grant
        and known[2] == record.cache
    ):
        return known[3]
    encoded = _metadata(record)
    if record.identity is not None and record.grant is not None:  # pragma: no branch - it is signed
        shared.metadata = record.identity, record.grant, record.cache, encoded
    return encoded


def no_metadata(_record: RequestRecord) -> bytes:
    """Encode nothing, where nobody wants metadata."""
    return b""


def _metadata(record: RequestRecord) -> bytes:
    """Encode all but the eight bytes of ``duration_us``, which stands last and always has eight bytes."""
    identity, grant = record.identity, record.grant
    members = (
        (_member(b"subject", identity.subject) if identity and identity.subject else b"")
        + (_member(b"access_key_id", record.access_key_id) if record.access_key_id else b"")
        + _common_members(
            (b"role_arn", grant.assumed_role_arn if grant else None),
            (b"mapping", grant.mapping if grant else None),
            (b"cache", record.cache),
            (b"decision", record.decision),
            (b"reason", record.reason),
        )
    )
    ours = wire.field(_STRUCT_VALUE, members + _DURATION)
    namespace = _NAMESPACE + wire.field(_MAP_VALUE, ours)
    return wire.field(_DYNAMIC_METADATA, wire.field(_FIELDS, namespace))[: -_NUMBER.size]


@lru_cache(maxsize=256)
def _common_members(*members: tuple[bytes, str | None]) -> bytes:
    """Encode members that many users have in common."""
    return b"".join(_member(name, string) for name, string in members if string)


def _member(name: bytes, string: str) -> bytes:
    # A claim may have a lone surrogate, which protobuf has no way to write.
    value = wire.field(_STRING_VALUE, string[:_MAX_STRING].encode(errors="replace"))
    return wire.field(_FIELDS, wire.field(_MAP_KEY, name) + wire.field(_MAP_VALUE, value))


_DURATION = wire.field(
    _FIELDS,
    wire.field(_MAP_KEY, b"duration_us")
    + wire.field(_MAP_VALUE, Value(number_value=0.0).SerializeToString()),
)


def _set(name: str, value: str) -> HeaderValueOption:
    # raw_value: Envoy takes `value` for an empty header. `append` stays unset: it alone decides in 1.40.
    return HeaderValueOption(
        header=HeaderValue(key=name, raw_value=value.encode("latin-1")),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
