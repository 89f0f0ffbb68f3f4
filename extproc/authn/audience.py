"""Audiences: whether what a token is for and what is accepted are the same resource.

RFC 3986 has a ladder of comparisons (section 6.2); the higher the rung, the more of them are guesses
about a server. Only the lowest needed are taken, and only for ``http`` and ``https``:

* 6.2.2.1: scheme and host are compared without case, as MCP asks ("Canonical Server URI").
* One slash at the end of the path makes no difference, if the issuer's configuration says so.

Nothing else: a default port, an empty path, percent-encoding, dot segments, a last dot of the host and
every query stay as they are written. RFC 8707 2 asks for an absolute URI and no comparison but that of
its characters. An audience of any other form (a GUID, ``api://...``, a URL with a user name, with
characters that no URI has, or with a host of other letters than ASCII's) is compared exactly.
"""

import re
from collections.abc import Iterable

# No re.IGNORECASE: it takes U+017F for an s. [...]: an address of RFC 3986 3.2.2, without a zone.
_WEB_URL = re.compile(
    r"(?P<origin>[Hh][Tt][Tt][Pp][Ss]?://"
    r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?)"
    r"(?P<path>(?:/[A-Za-z0-9\-._~:/@!$&'()*+,;=%]*)?)"
    r"(?P<further>(?:[?#][A-Za-z0-9\-._~:/?#@!$&'()*+,;=%]*)?)"
)


def canonical_audience(audience: str, *, ignore_slash: bool) -> str:
    """Return the one spelling of all audiences that are the same resource; of others the audience itself.

    Args:
        audience: any string.
        ignore_slash: whether one slash at the path's end makes no difference. It counts where a query
            or a fragment follows, and where the path ends in more than one.
    """
    match = _WEB_URL.fullmatch(audience)
    if match is None:
        return audience
    origin, path, further = match.groups()
    if ignore_slash and not further and path.endswith("/") and not path.endswith("//"):
        path = path[:-1]
    return f"{origin.lower()}{path}{further}"


class Audiences:
    """The audiences that are accepted of one issuer's tokens, made comparable once.

    Args:
        accepted: without any, no token is accepted.
        ignore_slash: see ``canonical_audience``.
    """

    __slots__ = ("_canonical", "_ignore_slash")

    def __init__(self, accepted: Iterable[str], *, ignore_slash: bool = False) -> None:
        self._ignore_slash = ignore_slash
        self._canonical = frozenset(
            canonical_audience(audience, ignore_slash=ignore_slash) for audience in accepted
        )

    def __len__(self) -> int:
        """Return how many different resources there are."""
        return len(self._canonical)

    def __contains__(self, audience: str) -> bool:
        """Whether the audience names an accepted resource."""
        return canonical_audience(audience, ignore_slash=self._ignore_slash) in self._canonical


NO_AUDIENCES = Audiences(())
"""Accepts no token."""
