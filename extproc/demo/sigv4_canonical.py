"""The canonical request: the bytes that a signature covers, built from a request as it arrived."""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from extproc.demo.sigv4_request import ReceivedRequest

# RFC 3986 unreserved characters, the only ones UriEncode() leaves alone (urllib adds letters and digits).
_UNRESERVED: Final = "-_.~"


def canonical_request(
    request: ReceivedRequest, *, signed_headers: Sequence[str], payload_hash: str, s3_style: bool
) -> bytes:
    """Build the canonical request: method, URI, query, headers, signed header names, payload hash."""
    lines = [
        request.method.encode("ascii"),
        canonical_path(request.raw_path, s3_style=s3_style),
        canonical_query(request.raw_query),
    ]
    for name in signed_headers:
        joined = b",".join(_trim_all(value) for value in request.values(name))
        lines.append(name.encode("ascii") + b":" + joined)
    lines += [b"", ";".join(signed_headers).encode("ascii"), payload_hash.encode("ascii")]
    return b"\n".join(lines)


def canonical_path(raw_path: bytes, *, s3_style: bool) -> bytes:
    """Return the canonical URI of a path as received.

    "Normalize URI paths according to RFC 3986 by removing redundant and relative path components. Each path
    segment must be URI-encoded twice (except for Amazon S3, which only gets URI-encoded once)." What arrives
    was encoded once by the client, so it is encoded once more here. A path that ends in a dot segment keeps
    no trailing slash; the documents do not settle that case and SDKs differ.
    """
    if s3_style:
        segments = raw_path.split(b"/")
        return b"/".join(_uri_encode(unquote_to_bytes(segment)) for segment in segments) or b"/"
    kept: list[bytes] = []
    for segment in raw_path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    trailing = b"/" if kept and raw_path.endswith(b"/") else b""
    return b"/" + b"/".join(_uri_encode(segment) for segment in kept) + trailing


def canonical_query(raw_query: bytes) -> bytes:
    """Return the canonical query string: every name and value decoded, encoded strictly, then sorted.

    A plus sign is a plus sign ("a space is %20, not +"); ``name`` and ``name=`` are the same parameter.
    """
    pairs = []
    for part in raw_query.split(b"&"):
        if not part:
            continue
        name, _, value = part.partition(b"=")
        pairs.append((_uri_encode(unquote_to_bytes(name)), _uri_encode(unquote_to_bytes(value))))
    return b"&".join(name + b"=" + value for name, value in sorted(pairs))


def _uri_encode(value: bytes) -> bytes:
    return quote_from_bytes(value, safe=_UNRESERVED).encode("ascii")


def _trim_all(value: bytes) -> bytes:
    return re.sub(rb"[ \t]+", b" ", value).strip(b" ")
