"""Protobuf's wire format, as much of it as writing a message field by field needs.

A message's encoding is that of its fields, one after the other, so what is constant can be
kept encoded. https://protobuf.dev/programming-guides/encoding/
"""

from typing import Any

_LENGTH_DELIMITED = 2  # the wire type of texts, bytes and messages


def tag(message: Any, name: str) -> bytes:
    """What stands before a field of a message class: its number and wire type."""
    return varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | _LENGTH_DELIMITED)


def field(tag_: bytes, content: bytes) -> bytes:
    """One text, bytes or message field."""
    length = len(content)
    return tag_ + (_LENGTHS[length] if length < _USUAL else varint(length)) + content


def varint(number: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:  # noqa: PLR2004
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_USUAL = 4096
_LENGTHS = tuple(varint(length) for length in range(_USUAL))
