"""The ``Origin`` check that MCP requires, and CORS for the web pages that pass it.

Browsers add ``Origin`` to what pages send. A request without one does not come from a page, and only its
token counts. https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from extproc.errors import Denied, Reason
from extproc.values import ImmediateResponse, RequestHead

METHODS = "GET, POST, DELETE"
REQUEST_HEADERS = (
    "accept", "authorization", "content-type", "last-event-id", "mcp-method", "mcp-name",
    "mcp-protocol-version", "mcp-session-id",
)  # fmt: skip
_MCP_PREFIX = "mcp-"
_MAX_REQUESTED_HEADERS = 64
EXPOSED = "mcp-session-id, www-authenticate"
PREFLIGHT_LIFETIME = "600"  # seconds


class Origins:
    """The allowed origins, compared exactly: the resource's own and those of ``allowed_origins``.

    Args:
        allowed: the origins.
        request_headers: headers that scripts may send besides those of MCP, in lower case.
    """

    def __init__(self, allowed: frozenset[str], *, request_headers: frozenset[str] = frozenset()) -> None:
        self._allowed = allowed
        self._request_headers = (*REQUEST_HEADERS, *sorted(request_headers))

    def check(self, head: RequestHead) -> None:
        """Refuse a request from a page of another origin.

        Raises:
            Denied: ``ORIGIN_REFUSED``; also for several origins and for ``null``.
        """
        origins = head.values("origin")
        if origins and (len(origins) > 1 or origins[0] not in self._allowed):
            raise Denied(Reason.ORIGIN_REFUSED, "origin is not one of allowed_origins")

    def preflight(self, head: RequestHead) -> ImmediateResponse | None:
        """Return the response to a CORS preflight request of a checked origin, else None."""
        if head.method != "OPTIONS" or not head.values("access-control-request-method"):
            return None
        if not head.values("origin"):
            return None
        headers = (
            *self.response_headers(head),
            ("access-control-allow-methods", METHODS),
            ("access-control-allow-headers", ", ".join(self._allowed_headers(head))),
            ("access-control-max-age", PREFLIGHT_LIFETIME),
        )
        return ImmediateResponse(204, headers, b"", None)

    def response_headers(self, head: RequestHead | None) -> tuple[tuple[str, str], ...]:
        """Return the headers that let a page of an allowed origin read a response; else none."""
        origins = head.values("origin") if head is not None else []
        if len(origins) != 1 or origins[0] not in self._allowed:
            return ()
        return (
            ("access-control-allow-origin", origins[0]),
            ("access-control-expose-headers", EXPOSED),
            ("vary", "origin"),
        )

    def _allowed_headers(self, head: RequestHead) -> list[str]:
        """Return the usual headers, and requested ones named ``mcp-...``: tools name ``Mcp-Param-*``."""
        requested = ",".join(head.values("access-control-request-headers")).lower().split(",")
        names = [name.strip() for name in requested[:_MAX_REQUESTED_HEADERS]]
        more = {name for name in names if name.startswith(_MCP_PREFIX) and _is_token(name)}
        return [*self._request_headers, *sorted(more.difference(self._request_headers))]


def _is_token(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace("_", "").isalnum()
