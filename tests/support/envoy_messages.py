"""Envoy's side of the wire, written with envoy-data-plane: a codec that shares no code with ours."""

import json

from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)

from extproc.ext_proc.envoy import external_processor_pb2

BUFFERED = ProcessingModeBodySendMode.BUFFERED
NO_BODY = ProcessingModeBodySendMode.NONE
STREAMED = ProcessingModeBodySendMode.STREAMED
SENT = ProcessingModeHeaderSendMode.SEND


def headers_message(
    *,
    method="POST",
    path="/mcp",
    authority="mcp.example",
    token="eyJhbGciOiJub25lIn0.e30.c2ln",
    headers=(),
    end_of_stream=False,
    body_mode=BUFFERED,
    observability_mode=False,
) -> bytes:
    entries = [(":method", method), (":path", path), (":authority", authority), (":scheme", "https")]
    if token is not None:
        entries.append(("authorization", f"Bearer {token}"))
    entries.extend(headers)
    return bytes(
        ProcessingRequest(
            request_headers=HttpHeaders(
                headers=HeaderMap(
                    headers=[HeaderValue(key=k, raw_value=v.encode("latin-1")) for k, v in entries]
                ),
                end_of_stream=end_of_stream,
            ),
            protocol_config=ProtocolConfiguration(request_body_mode=body_mode),
            observability_mode=observability_mode,
        )
    )


def with_claim(message: bytes, claim: str, *, body_mode=BUFFERED) -> bytes:
    """A head with what Envoy's jwt_authn filter passes on. It stands right before the body's mode."""
    request = external_processor_pb2.ProcessingRequest.FromString(message)
    metadata = request.metadata_context.filter_metadata["envoy.filters.http.jwt_authn"]
    metadata.fields["jwt_payload"].struct_value.fields["name"].string_value = claim
    request.protocol_config.request_body_mode = int(body_mode)
    return request.SerializeToString()


def with_jwt_payload(message: bytes, claims: dict) -> bytes:
    """A head with the claims that Envoy's jwt_authn filter verified; its numbers are doubles."""
    request = external_processor_pb2.ProcessingRequest.FromString(message)
    metadata = request.metadata_context.filter_metadata["envoy.filters.http.jwt_authn"]
    metadata.fields["jwt_payload"].struct_value.update(claims)
    return request.SerializeToString()


def body_message(body=b"{}", *, end_of_stream=True) -> bytes:
    return bytes(ProcessingRequest(request_body=HttpBody(body=body, end_of_stream=end_of_stream)))


def trailers_message() -> bytes:
    return bytes(ProcessingRequest(request_trailers=HttpTrailers()))


def response_trailers_message() -> bytes:
    return bytes(ProcessingRequest(response_trailers=HttpTrailers(trailers=HeaderMap())))


def response_message(status="200", error_type=None, headers=()) -> bytes:
    entries = [(":status", status), *headers]
    entries += [("x-amzn-errortype", error_type)] if error_type else []
    headers = HeaderMap(headers=[HeaderValue(key=k, raw_value=v.encode()) for k, v in entries])
    return bytes(ProcessingRequest(response_headers=HttpHeaders(headers=headers, end_of_stream=False)))


def response_body_message(body, *, end_of_stream=True) -> bytes:
    return bytes(ProcessingRequest(response_body=HttpBody(body=body, end_of_stream=end_of_stream)))


class Seen:
    """An answer of ours as Envoy reads it."""

    def __init__(self, message: bytes):
        self.response = ProcessingResponse.parse(message)
        immediate = self.response.immediate_response
        self.status = int(immediate.status.code) if immediate else None
        self.body = bytes(immediate.body) if immediate else None
        common = None
        if self.response.request_headers:
            common = self.response.request_headers.response
        if self.response.request_body:
            common = self.response.request_body.response
        mutation = immediate.headers if immediate else common.header_mutation if common else None
        self.options = list(mutation.set_headers) if mutation else []
        self.set = {o.header.key: o.header.raw_value.decode("latin-1") for o in self.options}
        self.removed = list(mutation.remove_headers) if mutation else []

    @property
    def decision_metadata(self):
        """What comes with the deciding answer for Envoy's access log, as plain values."""
        metadata = self.response.dynamic_metadata.to_dict()
        return metadata["extproc"]

    @property
    def told(self):
        """The OAuth members of a denial, in whichever form it comes."""
        told = json.loads(self.body)
        return told["error"]["data"] if "jsonrpc" in told else told

    @property
    def is_immediate(self):
        return self.response.immediate_response is not None

    @property
    def is_continue(self):
        return self.response.request_headers is not None and not self.set

    @property
    def is_signed(self):
        return self.set.get("authorization", "").startswith("AWS4-HMAC-SHA256 ")
