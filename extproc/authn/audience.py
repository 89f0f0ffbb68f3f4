"""Comparison of a token's audiences with the accepted ones.

RFC 3986 section 6.2 lists ways to compare URIs; each further one guesses more about the server. Two
differences are ignored, and only in ``http`` and ``https`` URLs:

* The case of scheme and host (6.2.2.1), as MCP requires ("Canonical Server URI").
* One slash at the end of the path, if the issuer's configuration says so.

Everything else is compared as written: a default port, an empty path, percent-encoding, dot segments, a
final dot of the host, the query. RFC 8707 section 2 requires an absolute URI and defines no comparison
but that of characters. An audience of any other form (a GUID, ``api://...``, a URL with a user name,
with characters that no URI has, or with a host that is not ASCII) is compared exactly.
"""

import re
from collections.abc import Iterable

# No re.IGNORECASE: with it, U+017F matches s. [...]: an IPv6 address (RFC 3986 3.2.2) without a zone.
_WEB_URL = re.compile(
    r"(?P<origin>[Hh][Tt][Tt][Pp][Ss]?://"
    r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?)"
    r"(?P<path>(?:/[A-Za-z0-9\-._~:/@!$&'()*+,;=%]*)?)"
    r"(?P<further>(?:[?#][A-Za-z0-9\-._~:/?#@!$&'()*+,;=%]*)?)"
)


def canonical_audience(audience: str, *, ignore_slash: bool) -> str:
    """Return the spelling that equal audiences share; for anything but a web URL, the audience itself.

    Args:
        audience: any string.
        ignore_slash: ignore one slash at the end of the path, unless a query or a fragment follows or the
            path ends in several.
    """
    match = _WEB_URL.fullmatch(audience)
    if match is None:
        return audience
    origin, path, further = match.groups()
    if ignore_slash and not further and path.endswith("/") and not path.endswith("//"):
        path = path[:-1]
    return f"{origin.lower()}{path}{further}"


class Audiences:
    """The accepted audiences of one issuer's tokens.

    Args:
        accepted: if empty, no token is accepted.
        ignore_slash: see ``canonical_audience``.
    """

    __slots__ = ("_canonical", "_ignore_slash")

    def __init__(self, accepted: Iterable[str], *, ignore_slash: bool = False) -> None:
        self._ignore_slash = ignore_slash
        self._canonical = frozenset(
            canonical_audience(audience, ignore_slash=ignore_slash) for audience in accepted
        )

    def __len__(self) -> int:
        """Return the number of different audiences."""
        return len(self._canonical)

    def __contains__(self, audience: str) -> bool:
        """Return whether the audience is accepted."""
        return canonical_audience(audience, ignore_slash=self._ignore_slash) in self._canonical


NO_AUDIENCES = Audiences(())
"""Accepts no token."""
