"""The path and query that are signed and forwarded, or a refusal.

Policy, signature and upstream must see the same bytes, and AWS must read them the same way. So a query
is converted to its strict encoding, and spellings that servers are known to read differently are refused.
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
    for name in (
        *("algorithm", "content-sha256", "credential", "date", "expires", "region-set", "s3session-token"),
        *("security-token", "signature", "signedheaders"),
    )
)
_S3_SIGNATURE_PARAMETERS = _SIGNATURE_PARAMETERS | {"awsaccesskeyid"}  # of Signature Version 2


def forwardable(raw: str, *, slashes_matter: bool) -> tuple[str, str]:
    """Split ``:path`` into the path and the strictly encoded query, in the client's order.

    ``slashes_matter``: the service distinguishes ``//`` from ``/`` (S3 does; others collapse them). Such a
    service decodes the path and signs its own strict encoding of it, so the path is converted to that
    encoding. It would read an encoded slash as a slash, so that is refused.

    Raises:
        Denied: ``REQUEST_AMBIGUOUS``, with the character, for dot segments in any spelling, invalid
            escapes, a plus sign in the query, control characters (even encoded ones, unless slashes matter),
            an encoded slash where slashes matter; ``SIGNATURE_IN_QUERY``.
    """
    path, _, query = raw.partition("?")
    if len(raw) > MAX_PATH_LENGTH:
        raise _ambiguous("path", f"is longer than {MAX_PATH_LENGTH} characters")
    for part, pattern, text in (("path", _PATH, path), ("query", _QUERY, query)):
        if not pattern.fullmatch(text):
            raise _ambiguous(part, _first_problem(pattern, text))
    if "//" in path and not slashes_matter:
        raise _ambiguous("path", 'has an empty segment, "//"')
    path = _one_reading(path, slashes_matter=slashes_matter)
    if not query:
        return path, ""
    parts = canonical_query_parts(query)
    of_signatures = _S3_SIGNATURE_PARAMETERS if slashes_matter else _SIGNATURE_PARAMETERS
    if any(name.lower() in of_signatures for name, _ in parts):
        raise Denied(Reason.SIGNATURE_IN_QUERY)
    return path, "&".join(f"{name}={value}" for name, value in parts)


def _one_reading(path: str, *, slashes_matter: bool) -> str:
    """Return the path in one spelling; refuse it if servers might read it in several ways."""
    decoded = unquote_to_bytes(path)
    if _has_dot_segments(decoded):
        raise _ambiguous("path", 'has a segment "." or "..", plain or encoded')
    if slashes_matter:
        if _ENCODED_SLASH.search(path):
            raise _ambiguous("path", "has %2F, an encoded slash, which would be a slash in the key")
        return quote(decoded, safe="/-_.~")  # keys may hold any character, control characters too
    control = next((byte for byte in decoded if byte in _CONTROLS), None)
    if control is not None:
        raise _ambiguous("path", f"has %{control:02X}, an encoded control character")
    # RFC 3986 6.2.2: a rule about /admin must match /%61dmin. Reserved characters stay encoded.
    return _ESCAPE.sub(_one_spelling, path) if "%" in path else path


def _first_problem(pattern: re.Pattern[str], text: str) -> str:
    """Describe the first character that keeps the text from matching."""
    good = pattern.match(text)
    if good is None:
        return "does not begin with a slash"
    character = text[good.end()]
    if character == "%":
        return "has a % that two hexadecimal digits do not follow"
    if character == "+":
        return 'has a "+", which some servers read as a space: write %20 or %2B'
    shown = f'"{character}"' if "!" <= character <= "~" else f"the byte 0x{ord(character):02X}"
    return f"has {shown}, which must be percent-encoded"


def _ambiguous(part: str, problem: str) -> Denied:
    return Denied(Reason.REQUEST_AMBIGUOUS, f"{part} {problem}", client_text=f"The {part} {problem}.")


def _one_spelling(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def _has_dot_segments(decoded: bytes) -> bool:
    if b"." not in decoded:
        return False
    # Some servers drop path parameters (";..."), some read a backslash as a slash.
    segments = decoded.replace(b"\\", b"/").split(b"/")
    return any(segment.partition(b";")[0] in (b".", b"..") for segment in segments)
