"""Heads by their bytes.

Most heads of a client differ from its last one in the values of ``VOLATILE_HEADERS`` only, which
nothing but logs reads. Then there is nothing to parse and to check again: all other bytes are
the same, the token's included, and so is what they mean.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from extproc.ext_proc import wire
from extproc.ext_proc.envoy.base_pb2 import HeaderMap, HeaderValue
from extproc.ext_proc.envoy.external_processor_pb2 import HttpHeaders, ProcessingRequest
from extproc.values import VOLATILE_HEADERS

HeadKey = tuple[object, ...]
"""Cache key: all of a head but those values. Equal keys, equal meaning. It holds the token."""

# A name, and the byte that tells its value's length. Longer values might hold a copy of the token, and are
# looked at each time (``authn.copies``). Begins with a literal, or it is slow.
_BEFORE_VALUE = re.compile(
    b"%b.(%b)%b[\\x00-\\x3f]"
    % (
        re.escape(wire.tag(HeaderValue, "key")),
        b"|".join(re.escape(name.encode()) for name in VOLATILE_HEADERS),
        re.escape(wire.tag(HeaderValue, "raw_value")),
    ),
    re.DOTALL,
)
_REQUEST_HEADERS = wire.tag_number(ProcessingRequest, "request_headers")
_HEADER_MAP = wire.tag_number(HttpHeaders, "headers")
_HEADER = wire.tag_number(HeaderMap, "headers")
_KEY, _RAW = wire.tag_number(HeaderValue, "key"), wire.tag_number(HeaderValue, "raw_value")
_NAMES = frozenset(name.encode() for name in VOLATILE_HEADERS)

LONGEST = 4096
"""Bytes of heads that are worth it; larger ones would take much memory."""

Spot = tuple[int, int, bytes]
"""Where a value begins, where it ends, and its header's name."""


@dataclass(slots=True)
class RequestFingerprint:
    """A stream's first message, and where in it those values seem to be."""

    message: bytes = field(repr=False)
    spots: list[Spot]
    key: HeadKey = field(repr=False)

    def values(self) -> dict[str, str]:
        """The values of this very head."""
        return {name.decode(): self.message[start:end].decode("latin-1") for start, end, name in self.spots}

    def verify_layout(self) -> bool:
        """Whether the spots are the values of these headers, all of them, and each header comes once.

        They were found by how they look, and text of others may look so too: a claim that another
        filter passes on, say. Here the message is followed field by field. That reads no byte
        of the values; so whatever message has this key, its fields are at the same places, and
        it differs from this one in these values and nowhere else.
        """
        try:
            return self.spots == list(_values(self.message))
        except (LookupError, ValueError):
            return False


def fingerprint(message: bytes, target_name: str | None) -> RequestFingerprint:
    """Find the key of a stream's first message, whatever that is."""
    at, rest, spots = 0, [], []
    for found in _BEFORE_VALUE.finditer(message):
        start = found.end()
        if start >= at:  # not within a value
            rest.append(message[at:start])
            at = start + message[start - 1]
            spots.append((start, at, found[1]))
    rest.append(message[at:])
    # The length, since the last value may seem to end beyond the message, if that is cut short.
    return RequestFingerprint(message, spots, (target_name, b"".join(rest), len(message), *spots))


def _values(message: bytes) -> Iterator[Spot]:
    """Where those values are. Raises ``LookupError`` or ``ValueError`` for what Envoy never writes."""
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
            yield (*header[_RAW], name)


def _once(message: bytes, start: int, end: int) -> dict[int, tuple[int, int]]:
    """The fields of a message, each of which comes once, by their tags."""
    places: dict[int, tuple[int, int]] = {}
    for tag, begins, ends in wire.fields(message, start, end):
        if tag in places:
            raise ValueError("a field that comes twice")
        places[tag] = begins, ends
    return places
