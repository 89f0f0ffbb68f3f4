r"""``aws-chunked``: bodies that AWS's SDKs send in chunks, followed by checksums.

    400\r\n<1024 bytes>\r\n0\r\nx-amz-checksum-crc32:sOO8/Q==\r\n\r\n

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html

The framing is part of the client's own signature, if it has one. The signer signs one payload with its
hash, so the framing is removed: lengths and checksums are verified, and a checksum in a trailer goes on
as a header. Not checked: the signatures of chunks, since the client's keys are unknown here. The client is
authenticated by its bearer token.
"""

import re
from dataclasses import dataclass

from extproc.errors import Denied, Reason
from extproc.signing import checksums
from extproc.signing.profiles import AwsChunked
from extproc.values import RequestHead

_CODING = "aws-chunked"
_STREAMING = "STREAMING-"
# Whether chunks have signatures, by the value of x-amz-content-sha256. SigV4A (ECDSA) is not supported.
_SCHEMES = {
    "": False,
    "UNSIGNED-PAYLOAD": False,
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER": False,
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": True,
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": True,
}
CONSUMED = frozenset({"content-encoding", "x-amz-decoded-content-length", "x-amz-trailer"})
"""Headers that describe the framing. They are removed with it."""

_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})(?:;chunk-signature=([0-9a-f]{64}))?", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)  # RFC 9110 5.6.2
_LONGEST_LINE = 128
_TRAILER = re.compile(rb"([A-Za-z0-9-]{1,64}):[ \t]*([!-~]{1,128})[ \t]*", re.ASCII)
_LONGEST_TRAILERS = 4096
_TRAILER_SIGNATURE = "x-amz-trailer-signature"
_MOST_TRAILERS = 8
# SDKs send chunks of 8 KiB or more; a body in chunks of one byte would cost more to decode than to hash.
_FREE_CHUNKS, _CHUNK_BYTES = 1024, 512
_ADVICE = (
    'set the client\'s request_checksum_calculation (AWS_REQUEST_CHECKSUM_CALCULATION) to "when_required", '
    "and turn its chunked encoding off"
)


@dataclass(frozen=True, slots=True)
class Chunked:
    """The headers that describe an ``aws-chunked`` body.

    Attributes:
        signed: whether chunks have signatures.
        length: bytes of the decoded body; None if the client does not announce it.
        trailers: names of the checksums in trailers.
        content_encoding: the other content codings; empty for none.
    """

    signed: bool
    length: int | None
    trailers: frozenset[str]
    content_encoding: str


def chunked_body(head: RequestHead, mode: AwsChunked) -> Chunked | None:
    """Return the description of an ``aws-chunked`` body; None if the body has no such coding.

    Raises:
        Denied: ``BODY_CODING_REFUSED`` if ``mode`` is "refuse" or the coding's variant is not supported.
    """
    codings = [token.strip() for value in head.values("content-encoding") for token in value.split(",")]
    named = [token for token in codings if token.lower() == _CODING]
    hashes = head.values("x-amz-content-sha256")
    streaming = any(value.upper().startswith(_STREAMING) for value in hashes)
    if not named and not streaming:
        if not CONSUMED.isdisjoint(head.names - {"content-encoding"}):
            raise _refused("x-amz-trailer and x-amz-decoded-content-length need an aws-chunked body")
        return None
    if mode == "refuse":
        raise _refused(f"aws-chunked bodies are not accepted for this target: {_ADVICE}")
    if not head.has_body or len(named) > 1 or len(hashes) > 1:
        raise _refused("the headers contradict each other about an aws-chunked body")
    others = [token for token in codings if token and token.lower() != _CODING]
    if not all(_TOKEN.fullmatch(token) for token in others):  # they will be signed
        raise _refused("content-encoding is no list of codings")
    scheme = hashes[0] if hashes else ""
    if scheme not in _SCHEMES:
        raise _refused(f"this x-amz-content-sha256 does not go with an aws-chunked body: {_ADVICE}")
    return Chunked(
        signed=_SCHEMES[scheme],
        length=_length(head),
        trailers=_trailers(head),
        content_encoding=",".join(others),
    )


def _length(head: RequestHead) -> int | None:
    values = head.values("x-amz-decoded-content-length")
    if not values:
        return None
    if len(values) > 1 or not re.fullmatch(r"[0-9]{1,15}", values[0], re.ASCII):
        raise _refused("x-amz-decoded-content-length is not one number")
    return int(values[0])


def _trailers(head: RequestHead) -> frozenset[str]:
    names = [
        token.strip().lower()
        for value in head.values("x-amz-trailer")
        for token in value.split(",")
        if token.strip()
    ]
    if len(set(names)) != len(names) or len(names) > _MOST_TRAILERS:
        raise _refused("x-amz-trailer names a trailer twice, or too many")
    for name in names:
        if not checksums.is_known(name) or name in head.names:
            known = ", ".join(algorithm.upper() for algorithm in checksums.ALGORITHMS)
            raise _refused(f"a trailer of x-amz-trailer cannot be verified: choose one checksum of {known}")
    return frozenset(names)


def decode(body: bytes, chunked: Chunked) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """Return the body in the chunks and its checksums as headers, both verified.

    Raises:
        Denied: ``BODY_DIFFERS`` for broken framing, a wrong length, or a checksum that differs.
    """
    view, pieces, at = memoryview(body), list[memoryview](), 0
    most = _FREE_CHUNKS + len(body) // _CHUNK_BYTES
    while True:
        end = body.find(b"\r\n", at, at + _LONGEST_LINE)
        line = _CHUNK.fullmatch(body, at, end) if end > 0 else None
        if line is None or (line[2] is not None) is not chunked.signed:
            raise _differs("a chunk of the aws-chunked body has no valid first line")
        start, size = line.end() + 2, int(line[1], 16)
        if size == 0:
            break
        at = start + size + 2
        if body[start + size : at] != b"\r\n" or len(pieces) >= most:
            raise _differs("a chunk of the aws-chunked body has another length than it says, or is too small")
        pieces.append(view[start : start + size])
    data = b"".join(pieces)
    if chunked.length is not None and chunked.length != len(data):
        raise _differs("the body has another length than x-amz-decoded-content-length says")
    trailers = _read_trailers(body[start:], chunked)
    for name, value in trailers:
        if checksums.checksum(name, data) != value:
            raise _differs(f"the body has another checksum than its trailer {name} says")
    return data, trailers


def _read_trailers(rest: bytes, chunked: Chunked) -> tuple[tuple[str, str], ...]:
    # Some clients write a bare line feed between a trailer and its signature, as AWS's example does.
    if len(rest) > _LONGEST_TRAILERS or not rest.endswith(b"\r\n"):
        raise _differs("the aws-chunked body does not end as it should")
    found: list[tuple[str, str]] = []
    for line in rest.replace(b"\r\n", b"\n").split(b"\n"):
        if not line:
            continue
        trailer = _TRAILER.fullmatch(line)
        if trailer is None:
            raise _differs("the aws-chunked body does not end as it should")
        name = trailer[1].decode("ascii").lower()
        if not (chunked.signed and name == _TRAILER_SIGNATURE):
            found.append((name, trailer[2].decode("ascii")))
    names = [name for name, _ in found]
    if set(names) != chunked.trailers or len(names) != len(chunked.trailers):
        raise _differs("the trailers of the aws-chunked body are not those that x-amz-trailer names")
    return tuple(found)


def _refused(problem: str) -> Denied:
    return Denied(Reason.BODY_CODING_REFUSED, problem, client_text=f"{problem[0].upper()}{problem[1:]}.")


def _differs(problem: str) -> Denied:
    return Denied(Reason.BODY_DIFFERS, problem, client_text=f"{problem[0].upper()}{problem[1:]}.")
