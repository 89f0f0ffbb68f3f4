"""Envoy's access log: a JSON line for each request, with the user and role from extproc's metadata."""

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import SubstitutionFormatString
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.google.protobuf import Any, Struct

from extproc.envoyconf.ext_proc import EXT_PROC_FILTER
from extproc.ext_proc.encoding import DECISION_NAMESPACE


def _ours(name: str) -> str:
    return f"%DYNAMIC_METADATA({DECISION_NAMESPACE}:{name})%"


def _latency(field: str) -> str:
    return f"%FILTER_STATE({EXT_PROC_FILTER}:FIELD:{field})%"


# Without the query, which may contain secrets.
_LINE = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "user": _ours("subject"),
    "role": _ours("role_arn"),
    "mapping": _ours("mapping"),
    "access_key_id": _ours("access_key_id"),
    "cache": _ours("cache"),
    "decision": _ours("decision"),
    "reason": _ours("reason"),
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "extproc_us": _ours("duration_us"),
    "extproc_head_us": _latency("request_header_latency_us"),
    "extproc_body_us": _latency("request_body_total_latency_us"),
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "connection_ms": "%UPSTREAM_CONNECTION_POOL_READY_DURATION%",
    "upstream_ms": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
}


def json_access_log() -> AccessLog:
    """Return an access log that writes to standard output."""
    line = SubstitutionFormatString(json_format=Struct.from_dict(_LINE))
    return AccessLog(
        name="envoy.access_loggers.stdout", typed_config=Any.pack(StdoutAccessLog(log_format=line))
    )
