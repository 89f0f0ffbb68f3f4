"""Heads by their bytes.

Most heads of a client differ from its last one in the values of ``DIFFERENT_EACH_TIME`` only, which
nothing but logs reads. Then there is nothing to parse and to check again: all other bytes are
the same, the token's included, and so is what they mean.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from envoy.config.core.v3.base_pb2 import HeaderValue

from extproc.errors import Denied
from extproc.server import codec, wire
from extproc.values import DIFFERENT_EACH_TIME, RequestHead

HeadKey = tuple[object, ...]
"""Of all of a head but those values: equal keys, equal meaning. Holds a digest of the token's bytes only."""

# A name, and the byte that tells its value's length, if one byte does. Begins with a literal, or it is slow.
_BEFORE_VALUE = re.compile(
    b"%b.(%b)%b[\\x00-\\x7f]"
    % (
        re.escape(wire.tag(HeaderValue, "key")),
        b"|".join(re.escape(name.encode()) for name in DIFFERENT_EACH_TIME),
        re.escape(wire.tag(HeaderValue, "raw_value")),
    ),
    re.DOTALL,
)
_FILLER = "-"


@dataclass(slots=True)
class HeadBytes:
    """A stream's first message. ``spots``: where in it those values are, as it seems: (start, end, name)."""

    message: bytes = field(repr=False)
    spots: list[tuple[int, int, bytes]]
    key: HeadKey = field(repr=False)

    def values(self) -> dict[str, str]:
        """The values of this very head."""
        return {name.decode(): self.message[start:end].decode("latin-1") for start, end, name in self.spots}

    def common(self, head: RequestHead, decode: Callable[[bytes], codec.Message]) -> RequestHead | None:
        """``head``, which this message was decoded to, without its own values; None if it has to be decoded.

        Whether the spots hold these values and nothing else, the decoder tells: with other bytes
        there it must make the same of all the rest. Lengths stand before what they count, so
        if these other bytes change the values only, all do.
        """
        names = {name.decode() for _, _, name in self.spots}
        if sorted(names) != sorted(name for name, _ in head.headers if name in names):
            return None  # one of them comes twice
        message = self.message
        for start, end, _ in self.spots:
            message = message[:start] + _FILLER.encode() * (end - start) + message[end:]
        try:
            decoded = decode(message)
        except Denied:
            return None
        if not isinstance(decoded, codec.HeadersMessage):
            return None
        expected = [(name, _FILLER * len(value) if name in names else value) for name, value in head.headers]
        return decoded.head if decoded.head == replace(head, headers=tuple(expected)) else None


def look_at(message: bytes, target_name: str | None) -> HeadBytes:
    """Find the key of a stream's first message, whatever that is."""
    at, rest, spots = 0, [], []
    for found in _BEFORE_VALUE.finditer(message):
        start = found.end()
        if start >= at:  # not within a value
            rest.append(message[at:start])
            at = start + message[start - 1]
            spots.append((start, at, found[1]))
    rest.append(message[at:])
    return HeadBytes(message, spots, (target_name, hashlib.sha256(b"".join(rest)).digest(), *spots))
