"""Which web pages may call: the ``Origin`` check that MCP asks for, and CORS for those that pass.

A browser adds ``Origin`` and nothing else can be told from it. Without one the caller is
no web page, and only its token counts. https://fetch.spec.whatwg.org/#http-cors-protocol
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

    ``request_headers``: what scripts may send beyond MCP's own headers, in lower case.
    """

    def __init__(self, allowed: frozenset[str], *, request_headers: frozenset[str] = frozenset()) -> None:
        self._allowed = allowed
        self._request_headers = (*REQUEST_HEADERS, *sorted(request_headers))

    def check(self, head: RequestHead) -> None:
        """Refuse a request that a page of another origin sent.

        Raises:
            Denied: ``ORIGIN_REFUSED``; also for several origins and for ``null``.
        """
        origins = head.values("origin")
        if origins and (len(origins) > 1 or origins[0] not in self._allowed):
            raise Denied(Reason.ORIGIN_REFUSED, "origin is not one of allowed_origins")

    def preflight(self, head: RequestHead) -> ImmediateResponse | None:
        """The answer to a CORS preflight request of a checked origin, else None."""
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
        """What lets an allowed origin's page read our own answer; nothing for anybody else."""
        origins = head.values("origin") if head is not None else []
        if len(origins) != 1 or origins[0] not in self._allowed:
            return ()
        return (
            ("access-control-allow-origin", origins[0]),
            ("access-control-expose-headers", EXPOSED),
            ("vary", "origin"),
        )

    def _allowed_headers(self, head: RequestHead) -> list[str]:
        """The usual ones, and requested ones of MCP's: ``Mcp-Param-*`` are named by tools."""
        requested = ",".join(head.values("access-control-request-headers")).lower().split(",")
        names = [name.strip() for name in requested[:_MAX_REQUESTED_HEADERS]]
        more = {name for name in names if name.startswith(_MCP_PREFIX) and _is_token(name)}
        return [*self._request_headers, *sorted(more.difference(self._request_headers))]


def _is_token(name: str) -> bool:
    return name.isascii() and name.replace("-", "").replace("_", "").isalnum()
