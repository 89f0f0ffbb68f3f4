"""Envoy's side of the wire, for requests to be explained: messages as Envoy writes them, answers as it reads.

So an explained request passes through the server's decoding and encoding as well.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from extproc.authn.envoy_jwt import METADATA_NAMESPACE, PAYLOAD_KEY
from extproc.ext_proc.envoy.base_pb2 import HeaderMap, HeaderValue
from extproc.ext_proc.envoy.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from extproc.ext_proc.envoy.processing_mode_pb2 import ProcessingMode


def head_message(
    headers: Iterable[tuple[str, str]], *, has_body: bool, jwt_payload: Mapping[str, Any] | None
) -> bytes:
    """Return the stream's first message.

    Args:
        headers: pseudo-headers first; each character of a value is one byte (Latin-1).
        has_body: a body or trailers follow.
        jwt_payload: the claims that jwt_authn verified.
    """
    values = [HeaderValue(key=name, raw_value=value.encode("latin-1")) for name, value in headers]
    message = ProcessingRequest(
        request_headers=HttpHeaders(headers=HeaderMap(headers=values), end_of_stream=not has_body),
        protocol_config=ProtocolConfiguration(request_body_mode=ProcessingMode.BUFFERED),
    )
    if jwt_payload is not None:
        metadata = message.metadata_context.filter_metadata[METADATA_NAMESPACE]
        # As Envoy keeps it: every number is a double.
        metadata.fields[PAYLOAD_KEY].struct_value.CopyFrom(ParseDict(dict(jwt_payload), Struct()))
    return bytes(message.SerializeToString())


def body_message(body: bytes, *, trailers: bool) -> bytes:
    """Return the message with the whole body; it is not the end if trailers follow."""
    message = ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=not trailers))
    return bytes(message.SerializeToString())


def trailers_message() -> bytes:
    """Return the message for trailers. Nothing reads their content."""
    return bytes(ProcessingRequest(request_trailers=HttpTrailers()).SerializeToString())


def immediate_response(answer: bytes) -> tuple[int, bytes] | None:
    """Return HTTP status and body if an answer is an immediate response to the client."""
    response = ProcessingResponse.FromString(answer)
    if not response.HasField("immediate_response"):
        return None
    return int(response.immediate_response.status.code), bytes(response.immediate_response.body)
