"""Protobuf's wire format: write a message field by field, and find the places of a message's fields.

The fields' values are decoded by protobuf's runtime. A message is its encoded fields in a row, so constant
fields can be kept encoded. https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from typing import Any

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5  # wire types; the third: strings, bytes, messages
_LONGEST_VARINT = 10  # bytes
_MORE = 0x80  # set in all bytes of a number but its last


def tag_number(message: Any, name: str) -> int:
    """Return the tag (number and wire type) of a string, bytes or message field of a message class."""
    return int(message.DESCRIPTOR.fields_by_name[name].number << 3 | _LENGTH_DELIMITED)


def tag(message: Any, name: str) -> bytes:
    """Return the encoded tag of such a field."""
    return varint(tag_number(message, name))


def fields(message: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the fields between two places of a message: tag number, start and end of the content.

    Raises:
        ValueError: that is no message, or has groups, which are obsolete.
    """
    at = start
    while at < end:
        tag_, begins = _read_varint(message, at, end)
        kind = tag_ & 7
        if kind == _LENGTH_DELIMITED:
            length, begins = _read_varint(message, begins, end)
            at = begins + length
        elif kind == _VARINT:
            _, at = _read_varint(message, begins, end)
        elif kind in (_FIXED32, _FIXED64):
            at = begins + (4 if kind == _FIXED32 else 8)
        else:
            raise ValueError("a group")
        if at > end:
            raise ValueError("a field goes on after the end")
        yield tag_, begins, at


def _read_varint(message: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number and the place where it ends."""
    if at < end and message[at] < _MORE:  # most are of one byte
        return message[at], at + 1
    number = 0
    for place in range(min(end - at, _LONGEST_VARINT)):
        byte = message[at + place]
        number |= (byte & 0x7F) << (7 * place)
        if byte < _MORE:
            return number, at + place + 1
    raise ValueError("a number without an end")


def field(tag_: bytes, content: bytes) -> bytes:
    """Encode one string, bytes or message field."""
    return begun(tag_, len(content), content)


def begun(tag_: bytes, length: int, beginning: bytes) -> bytes:
    """Encode such a field, whose content has ``length`` bytes, as far as the content's ``beginning``."""
    try:
        # A join costs half of two concatenations.
        return b"".join((tag_, LENGTHS[length], beginning))
    except IndexError:
        return b"".join((tag_, varint(length), beginning))


def varint(number: int) -> bytes:
    """Encode a number that is not negative: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


LENGTHS = tuple(varint(length) for length in range(4096))
"""The encoding of small numbers, which most lengths are."""
