"""Fingerprints of request heads: their bytes without the values of ``VOLATILE_HEADERS``.

Most heads of a client differ from its last one in these values only, and only logs read them. Such a head
need not be decoded and admitted again: all other bytes are equal, the token's included.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter

from extproc.ext_proc import wire
from extproc.ext_proc.envoy.base_pb2 import HeaderMap, HeaderValue
from extproc.ext_proc.envoy.external_processor_pb2 import HttpHeaders, ProcessingRequest
from extproc.values import VOLATILE_HEADERS

HeadKey = tuple[object, ...]
"""Cache key: the head without the volatile values. Equal keys mean equal admissions. It holds the token."""

_NEEDLES = tuple(
    (wire.field(wire.tag(HeaderValue, "key"), name.encode()) + wire.tag(HeaderValue, "raw_value"), name)
    for name in VOLATILE_HEADERS
)
"""What stands before the byte with a value's length, and the header's name."""

_LONGEST_VALUE = 63
"""Bytes. Longer values might hold a copy of the token, and are looked at each time (``authn.copies``)."""

_REQUEST_HEADERS = wire.tag_number(ProcessingRequest, "request_headers")
_HEADER_MAP = wire.tag_number(HttpHeaders, "headers")
_HEADER = wire.tag_number(HeaderMap, "headers")
_KEY, _RAW = wire.tag_number(HeaderValue, "key"), wire.tag_number(HeaderValue, "raw_value")
_NAMES = {name.encode(): name for name in VOLATILE_HEADERS}

LONGEST = 4096
"""Bytes of the longest head that is remembered; longer ones would take much memory."""

Spot = tuple[int, int, str]
"""Where a value begins, where it ends, and its header's name."""
Spots = tuple[Spot, ...]
"""The places of a message's volatile values, in their order."""
RestOf = Callable[[bytes], object]


@dataclass(slots=True)
class RequestFingerprint:
    """A stream's first message, its key, and the places where volatile values seem to be."""

    message: bytes = field(repr=False)
    spots: Spots
    key: HeadKey = field(repr=False)

    def verify_layout(self) -> bool:
        """Return whether the spots are exactly the values of the volatile headers, each of which comes once.

        The spots were found by pattern, and other bytes may match it: a claim that another filter passes on,
        say. Here the message is parsed field by field, and no byte of the values is read. So in any message
        with the same key the fields are at the same places, and only these values differ.

        Security: only keys that pass may be remembered, or two requests with different meanings could share
        an admission.
        """
        try:
            return self.spots == tuple(_values(self.message))
        except (LookupError, ValueError):
            return False


def fingerprint(message: bytes, target_name: str | None) -> RequestFingerprint:
    """Return the fingerprint of a stream's first message, which need not be a head."""
    found = []
    for needle, name in _NEEDLES:
        start = message.find(needle) + len(needle) + 1
        if len(needle) < start <= len(message) and message[start - 1] <= _LONGEST_VALUE:
            found.append((start, start + message[start - 1], name))
    found.sort()
    if any(start < end for (_, end, _), (start, _, _) in pairwise(found)):
        found = []  # one within another: no such head is remembered
    spots = tuple(found)
    return RequestFingerprint(message, spots, head_key(message, target_name, spots))


def head_key(message: bytes, target_name: str | None, spots: Spots, rest_of: RestOf | None = None) -> HeadKey:
    """Return the key of a message whose volatile values are at ``spots``.

    The spots may be those of another message: they are part of the key, and so are all bytes between them.
    So it equals the key of a head whose layout was verified only if this message has the same layout.
    ``rest_of``: ``all_but(spots)``, if the caller has it.
    """
    # With the length: in a truncated message the last value may seem to end beyond it.
    return target_name, (rest_of or all_but(spots))(message), len(message), spots


def all_but(spots: Spots) -> RestOf:
    """Return a function that returns all of a message but the values at ``spots``."""
    ends = [0, *(end for _, end, _ in spots)]
    starts = [*(start for start, _, _ in spots), None]
    return itemgetter(*map(slice, ends, starts))


def own_value(message: bytes, spots: Spots, name: str) -> str | None:
    """Return a message's own value of a volatile header, or None."""
    for start, end, found in spots:
        if found == name:
            return message[start:end].decode("latin-1")
    return None


def _values(message: bytes) -> Iterator[Spot]:
    """Yield the places of the values; raise ``LookupError`` or ``ValueError`` for what Envoy never writes."""
    head = _once(message, 0, len(message))[_REQUEST_HEADERS]
    seen = set()
    for tag, start, end in wire.fields(message, *_once(message, *head)[_HEADER_MAP]):
        if tag != _HEADER:
            raise ValueError("not a header")
        header = _once(message, start, end)
        begins, ends = header[_KEY]
        name = message[begins:ends]
        if name in _NAMES:
            if name in seen:
                raise ValueError("a header that comes twice")
            seen.add(name)
            yield (*header[_RAW], _NAMES[name])


def _once(message: bytes, start: int, end: int) -> dict[int, tuple[int, int]]:
    """Return the places of a message's fields by tag; raise ``ValueError`` if one comes twice."""
    places: dict[int, tuple[int, int]] = {}
    for tag, begins, ends in wire.fields(message, start, end):
        if tag in places:
            raise ValueError("a field that comes twice")
        places[tag] = begins, ends
    return places
