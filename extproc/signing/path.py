"""The path and query that are signed and forwarded, or a refusal.

What policy sees, what is signed and what goes upstream must be the same bytes, and AWS
must read them as we do. So a query is brought into its one strict encoding, and what
servers are known to read differently is refused.
"""

import re
import string
from urllib.parse import quote, unquote_to_bytes

from extproc.errors import Denied, Reason
from extproc.signing.sigv4 import canonical_query_parts

MAX_PATH_LENGTH = 32_768
_PATH = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*", re.ASCII)
_QUERY = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*,;=:@/?\[\]{}|^`]|%[0-9A-Fa-f]{2})*", re.ASCII)
_ENCODED_SLASH = re.compile(r"%2[Ff]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
_CONTROLS = frozenset(range(0x20)) | {0x7F}
_SIGNATURE_PARAMETERS = frozenset(
    f"x-amz-{name}"
    for name in ("algorithm", "credential", "date", "expires", "signature", "signedheaders", "security-token")
)


def forwardable(raw: str, *, slashes_matter: bool) -> tuple[str, str]:
    """Split ``:path`` into the path and the strictly encoded query, in the client's order.

    ``slashes_matter``: the service tells ``//`` from ``/`` (S3 does; others collapse them).
    Such a service decodes the path and signs its own strict encoding of it, so the path is
    brought into that encoding too. An encoded slash would be a slash there: refused.

    Raises:
        Denied: ``REQUEST_AMBIGUOUS`` for dot segments in any spelling, control characters,
            invalid escapes, a plus sign in the query, an encoded slash where slashes matter;
            ``SIGNATURE_IN_QUERY``.
    """
    path, _, query = raw.partition("?")
    if len(raw) > MAX_PATH_LENGTH or not _PATH.fullmatch(path):
        raise Denied(Reason.REQUEST_AMBIGUOUS, "path has characters or escapes that are not allowed")
    if not _QUERY.fullmatch(query):
        # A plus sign is a space to some servers and a plus to others.
        raise Denied(Reason.REQUEST_AMBIGUOUS, "query has characters or escapes that are not allowed")
    if "//" in path and not slashes_matter:
        raise Denied(Reason.REQUEST_AMBIGUOUS, "path has an empty segment")
    path = _one_reading(path, slashes_matter=slashes_matter)
    if not query:
        return path, ""
    parts = canonical_query_parts(query)
    if any(name.lower() in _SIGNATURE_PARAMETERS for name, _ in parts):
        raise Denied(Reason.SIGNATURE_IN_QUERY)
    return path, "&".join(f"{name}={value}" for name, value in parts)


def _one_reading(path: str, *, slashes_matter: bool) -> str:
    """The path in one spelling; refused if servers might read it in several ways."""
    decoded = unquote_to_bytes(path)
    if not _CONTROLS.isdisjoint(decoded):
        raise Denied(Reason.REQUEST_AMBIGUOUS, "path has control characters")
    if _has_dot_segments(decoded):
        raise Denied(Reason.REQUEST_AMBIGUOUS, "path has dot segments")
    if slashes_matter:
        if _ENCODED_SLASH.search(path):
            raise Denied(Reason.REQUEST_AMBIGUOUS, "path has an encoded slash")
        return quote(decoded, safe="/-_.~")
    # RFC 3986 6.2.2: a rule about /admin must not miss /%61dmin. What is reserved stays encoded.
    return _ESCAPE.sub(_one_spelling, path) if "%" in path else path


def _one_spelling(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def _has_dot_segments(decoded: bytes) -> bool:
    if b"." not in decoded:
        return False
    # Some servers cut path parameters off (";..."), some take a backslash for a slash.
    segments = decoded.replace(b"\\", b"/").split(b"/")
    return any(segment.partition(b";")[0] in (b".", b"..") for segment in segments)
