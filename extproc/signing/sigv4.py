"""AWS Signature Version 4 in the header form, as pure functions with three checkpoints.

canonical request → string to sign → signature
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

It does not choose what to sign, reads no clock and does not depend on Envoy.
"""

import hashlib
import hmac
import re
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Self
from urllib.parse import quote, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_UNRESERVED = "-_.~"  # RFC 3986 2.3, beside letters and digits
# Fast path: most requests have such paths and queries, which are in canonical form already.
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?", re.ASCII)
_PLAIN_QUERY = re.compile(
    r"[A-Za-z0-9._~-]+=[A-Za-z0-9._~-]*(?:&[A-Za-z0-9._~-]+=[A-Za-z0-9._~-]*)*", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Scope:
    """The credential scope: the region and service for which a signature is valid."""

    region: str
    service: str


class Signature(NamedTuple):
    """A signature with its checkpoints."""

    canonical_request: str
    string_to_sign: str
    signed_headers: str
    signature: str
    authorization: str


def payload_hash(body: bytes) -> str:
    """Return the hex SHA-256 of the exact bytes that will be sent."""
    return hashlib.sha256(body).hexdigest()


def timestamp(now: float) -> str:
    """Return ``now`` (seconds since the epoch) in the format of ``x-amz-date``, in UTC."""
    return _timestamp(int(now))


@lru_cache(maxsize=2)  # thousands of sessions sign in a second
def _timestamp(second: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


def canonical_uri(path: str, *, normalize: bool = True, double_encode: bool = True) -> str:
    """Return the canonical path; ``path`` is the one that is sent, percent-encoded where needed.

    Services other than S3 resolve dot segments and encode each segment once more; S3 signs the path as sent.
    """
    if _PLAIN_PATH.fullmatch(path):
        return path
    if normalize:
        path = _normalize(path)
    if not double_encode:
        return quote(path, safe="/%" + _UNRESERVED) or "/"
    return quote(path, safe="/" + _UNRESERVED) or "/"


def _normalize(path: str) -> str:
    """Resolve "." and "..", and collapse repeated slashes (RFC 3986 6.2.2.3)."""
    if "//" not in path and "/." not in path:
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    slash = "/" if kept and path.endswith(("/", "/.", "/..")) else ""
    return "/" + "/".join(kept) + slash


def canonical_query(query: str) -> str:
    """Return the canonical query: strictly encoded, sorted by encoded name, then value.

    A plus sign is not a space: SigV4 has no form encoding.
    """
    if not query:
        return ""
    if not _PLAIN_QUERY.fullmatch(query):
        return "&".join(f"{name}={value}" for name, value in sorted(canonical_query_parts(query)))
    if "&" not in query:
        return query
    return "&".join(map("".join, sorted(part.partition("=") for part in query.split("&"))))


def canonical_query_parts(query: str) -> list[tuple[str, str]]:
    """Return names and values in strict encoding, in the query's order; empty parts are dropped."""
    return [
        (_strictly_encoded(name), _strictly_encoded(value))
        for name, _, value in (part.partition("=") for part in query.split("&") if part)
    ]


def _strictly_encoded(part: str) -> str:
    return quote(unquote_to_bytes(part), safe=_UNRESERVED)


def canonical_headers(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the canonical headers: lower-case names, sorted; values trimmed, folded, joined by commas."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key, one_line = name.lower(), folded(value)
        joined[key] = f"{joined[key]},{one_line}" if key in joined else one_line
    return sorted(joined.items())


def folded(value: str) -> str:
    """Return a header's value trimmed, with white space folded into single spaces."""
    # bytes.split() splits at ASCII white space only, as AWS does; str.split() would include Unicode's.
    return b" ".join(value.encode("utf-8", "surrogatepass").split()).decode("utf-8", "surrogatepass")


class CanonicalHeaders(NamedTuple):
    """Headers in the form of the canonical request."""

    lines: str  # "name:value", each with a line feed
    names: str  # joined by semicolons

    @classmethod
    def of(cls, headers: list[tuple[str, str]]) -> Self:
        """Build them from the result of ``canonical_headers``."""
        return cls(
            "".join([f"{name}:{value}\n" for name, value in headers]),
            ";".join([name for name, _ in headers]),
        )


def canonical_request(*, method: str, uri: str, query: str, headers: CanonicalHeaders, payload: str) -> str:
    """Return the first checkpoint; ``uri`` and ``query`` are in canonical form."""
    return f"{method}\n{uri}\n{query}\n{headers.lines}\n{headers.names}\n{payload}"


def string_to_sign(*, at: str, scope: str, request_hash: str) -> str:
    """Return the second checkpoint.

    Args:
        at: a ``timestamp``.
        scope: the ``credential_scope``.
        request_hash: SHA-256 of the canonical request, in hexadecimal.
    """
    return f"{ALGORITHM}\n{at}\n{scope}\n{request_hash}"


def credential_scope(date: str, scope: Scope) -> str:
    """Return the credential scope of a day as a string; ``date`` is YYYYMMDD."""
    return f"{date}/{scope.region}/{scope.service}/aws4_request"


def signing_key(secret_access_key: str, date: str, scope: Scope) -> bytes:
    """Return the derived key of one day (``date`` is YYYYMMDD), region and service."""
    key = b"AWS4" + secret_access_key.encode("utf-8")
    for part in (date, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode("utf-8"), "sha256")
    return key


@dataclass(slots=True)
class Prepared:
    """The parts of signatures that depend on neither request line nor body; valid for one second.

    Attributes:
        authorization: the header up to the signature.
        inner: the inner hash of HMAC, begun with the string to sign up to the hash of the request.
        outer: the outer hash. Copies of both are cheaper than a new HMAC for each request.
    """

    headers: CanonicalHeaders = field(repr=False)
    at: str
    scope: str
    authorization: str
    inner: Any = field(repr=False)
    outer: Any = field(repr=False)


def prepare(*, headers: CanonicalHeaders, at: str, scope: Scope, access_key_id: str, key: bytes) -> Prepared:
    """Prepare signatures with a ``signing_key`` of ``at``'s day and ``scope``."""
    named = credential_scope(at[:8], scope)
    authorization = (
        f"{ALGORITHM} Credential={access_key_id}/{named}, SignedHeaders={headers.names}, Signature="
    )
    inner, outer = _hmac_sha256(key, string_to_sign(at=at, scope=named, request_hash="").encode("utf-8"))
    return Prepared(headers, at, named, authorization, inner, outer)


_BLOCK = 64  # bytes of SHA-256
_INNER_PAD, _OUTER_PAD = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def _hmac_sha256(key: bytes, beginning: bytes) -> tuple[Any, Any]:
    """Return both hashes of HMAC (RFC 2104 2), the inner one begun; ``key`` has at most a block."""
    block = key.ljust(_BLOCK, b"\0")
    return (
        hashlib.sha256(block.translate(_INNER_PAD) + beginning),
        hashlib.sha256(block.translate(_OUTER_PAD)),
    )


def begin(prepared: Prepared, *, method: str, uri: str, query: str) -> Any:
    """Return SHA-256 of the canonical request up to the payload hash, for ``authorization``."""
    request = canonical_request(method=method, uri=uri, query=query, headers=prepared.headers, payload="")
    return hashlib.sha256(request.encode("utf-8"))


def authorization(prepared: Prepared, begun: Any, payload: str) -> str:
    """Return the header ``authorization`` for one request; ``payload``: its payload hash."""
    request = begun.copy()
    request.update(payload.encode("ascii"))
    inner, outer = prepared.inner.copy(), prepared.outer.copy()
    inner.update(request.hexdigest().encode("ascii"))
    outer.update(inner.digest())
    return prepared.authorization + str(outer.hexdigest())


def sign(prepared: Prepared, *, method: str, uri: str, query: str, payload: str) -> Signature:
    """Sign one request, with the checkpoints; ``uri`` and ``query`` are in canonical form."""
    request = canonical_request(
        method=method, uri=uri, query=query, headers=prepared.headers, payload=payload
    )
    request_hash = hashlib.sha256(request.encode("utf-8")).hexdigest()
    header = authorization(prepared, begin(prepared, method=method, uri=uri, query=query), payload)
    return Signature(
        request,
        string_to_sign(at=prepared.at, scope=prepared.scope, request_hash=request_hash),
        prepared.headers.names,
        header.removeprefix(prepared.authorization),
        header,
    )
