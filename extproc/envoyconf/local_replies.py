"""Envoy's own replies to MCP clients: a JSON-RPC error instead of an empty body or plain text.

They are sent without extproc: for a body over Envoy's buffer, if extproc is unreachable or too slow, or
a target is full or unreachable. The request's id is not known, so it is absent; the status is unchanged.
"""

import json
from collections.abc import Sequence

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ExtensionFilter,
    HeaderFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    RuntimeUInt32,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from extproc.config import Settings
from extproc.errors import Reason
from extproc.ext_proc.encoding import DETAILS_PREFIX
from extproc.request.denial_responses import ANYBODY, RPC_BASE

# Cut to the length of Envoy's own. Envoy replaces clients' ids, except those of an internal network.
_REQUEST_ID = "%REQ(X-REQUEST-ID):36%"
_AGAIN = "Try again in a few seconds."
_TEXTS = {
    408: ("invalid_request", "The request did not arrive in time."),
    413: (None, "The request body is too large."),
    429: ("temporarily_unavailable", f"Too many requests. {_AGAIN}"),
    500: ("server_error", "The gateway could not process the request; ask {support}."),
    502: ("temporarily_unavailable", f"The server behind the gateway answered nothing usable. {_AGAIN}"),
    503: (
        "temporarily_unavailable",
        f"The gateway or the server behind it takes no more requests now. {_AGAIN}",
    ),
    504: ("temporarily_unavailable", f"The gateway or the server behind it did not answer in time. {_AGAIN}"),
}
"""By status: `data.error`, and the text for the user."""

_FULL = ("UO",)  # the circuit breaker of a target
_GONE = (
    "UF",
    "UH",
    "UC",
    "UR",
)  # no connection, no healthy host, or a connection that ended before the response
_RETRY_AFTER = HeaderValueOption(
    header=HeaderValue(key="retry-after", value="1"),
    append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
)


def local_replies(settings: Settings) -> LocalReplyConfig:
    """Return the mappers of Envoy's own replies. The first that matches is used."""
    of_targets = [
        ResponseMapper(
            filter=_all(_flags(flags), _of_mcp_clients(503)),
            body_format_override=_body(503, "temporarily_unavailable", text),
            headers_to_add=[_RETRY_AFTER],
        )
        for flags, text in (
            (_FULL, Reason.TARGET_BUSY.outcome.text),
            (_GONE, f"The server behind the gateway cannot be reached. {_AGAIN}"),
        )
    ]
    for_others = ResponseMapper(filter=_flags(_FULL + _GONE), headers_to_add=[_RETRY_AFTER])
    return LocalReplyConfig(
        mappers=[*of_targets, for_others]
        + [
            ResponseMapper(
                filter=_of_mcp_clients(status),
                body_format_override=_body(
                    status, error, text.format(support=settings.support or ANYBODY).replace("%", "%%")
                ),
            )
            for status, (error, text) in _TEXTS.items()
        ]
    )


def _of_mcp_clients(status: int) -> AccessLogFilter:
    """Match replies to MCP clients, which accept event streams; extproc's denials are left unchanged."""
    return _all(
        AccessLogFilter(
            status_code_filter=StatusCodeFilter(
                comparison=ComparisonFilter(
                    value=RuntimeUInt32(default_value=status, runtime_key="extproc.local_reply")
                )
            )
        ),
        AccessLogFilter(
            extension_filter=ExtensionFilter(
                name="envoy.access_loggers.extension_filters.cel",
                typed_config=Any.pack(
                    ExpressionFilter(expression=f'!response.code_details.startsWith("{DETAILS_PREFIX}")')
                ),
            )
        ),
        _header(":method", StringMatcher(exact="POST")),
        _header("accept", StringMatcher(contains="text/event-stream", ignore_case=True)),
    )


def _flags(flags: Sequence[str]) -> AccessLogFilter:
    return AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[*flags]))


def _all(*filters: AccessLogFilter) -> AccessLogFilter:
    return AccessLogFilter(and_filter=AndFilter(filters=list(filters)))


def _header(name: str, value: StringMatcher) -> AccessLogFilter:
    return AccessLogFilter(header_filter=HeaderFilter(header=HeaderMatcher(name=name, string_match=value)))


def _body(status: int, error: str | None, text: str) -> SubstitutionFormatString:
    """Return the JSON as a text format: Envoy's JSON format turns numbers into strings."""
    data = {"error": error, "error_description": text, "request_id": _REQUEST_ID}
    body = {"jsonrpc": "2.0", "error": {"code": RPC_BASE + status, "message": text, "data": data}}
    return SubstitutionFormatString(
        text_format_source=DataSource(inline_string=json.dumps(body)), content_type="application/json"
    )
