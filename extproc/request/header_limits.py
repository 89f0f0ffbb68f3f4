"""Envoy's limits on the number and size of a request's headers, which it also applies after a mutation.

A signed request over these limits would be a 500 of Envoy's, so it is refused before.
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers_mutation
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from extproc.errors import Denied, Reason
from extproc.signing.targets import Target
from extproc.values import RequestHead

_PSEUDO_HEADERS = 4  # :method, :path, :scheme and :authority
_OURS_AT_MOST = 20 * 1024  # bytes; a session token has 16 KiB at most

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class HeaderLimits:
    """Envoy's limits, in its own defaults.

    Attributes:
        count: ``max_headers_count``; pseudo-headers are headers.
        size: bytes, ``max_request_headers_kb``: of all names and values, without separators.
    """

    count: int = 100
    size: int = 60 * 1024

    def check_count(self, head: RequestHead, target: Target, removed: set[str]) -> None:
        """Refuse a request with too many headers after the mutation, which removes the names in ``removed``.

        Raises:
            Denied: ``TOO_MANY_HEADERS``.
        """
        if len(head.headers) <= self.count // 2:
            return
        left = sum(name not in removed for name, _ in head.headers)
        ours = 3 + target.sends_payload_hash  # authorization, x-amz-date, x-amz-security-token, and the hash
        if head.has_body and "content-length" not in head.names:
            ours += "transfer-encoding" not in head.names  # or one goes when the other comes
        if _PSEUDO_HEADERS + left + ours > self.count:
            raise Denied(
                Reason.TOO_MANY_HEADERS, f"{left} headers of the client and Envoy's own, and {ours} of ours"
            )

    def room(self, head: RequestHead, removed: set[str]) -> int | None:
        """Return the bytes left for the signature's headers, or None if any signature fits."""
        pseudo = len(":method:scheme:authority:pathhttps") + sum(
            map(len, (head.method, head.authority, head.path))
        )
        if sum(map(len, chain.from_iterable(head.headers))) + pseudo + _OURS_AT_MOST <= self.size:
            return None
        return (
            self.size - pseudo - _size((name, value) for name, value in head.headers if name not in removed)
        )


def check_room(room: int, *ours: Headers) -> None:
    """Refuse a request that would be too large with the signature's headers.

    Raises:
        Denied: ``TOO_MANY_HEADERS``.
    """
    size = sum(map(_size, ours))
    if size > room:
        raise Denied(Reason.TOO_MANY_HEADERS, f"{size} bytes of ours, and room for {room}")


def _size(headers: Headers) -> int:
    return sum(map(len, chain.from_iterable(headers)))
