"""Sealing: AES-256-GCM with the entry's name as associated data, padded to a few sizes.

    version (1 byte) | key id (4) | nonce (12) | ciphertext of: length (4), content, zeros | tag (16)

A sealed value opens only under its own name and with its own key, so one that was swapped, changed or copied
to another name does not open.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from extproc.shared_store.keys import KEY_ID_BYTES

VERSION = b"\x01"
SIZES = (
    512,
    2048,
    8192,
    32768,
)  # bytes of the padded content: a value shows no more than which of them it needs
_NONCE_BYTES = 12  # NIST SP 800-38D 8.2.2: random, as each key seals few values
_LENGTH_BYTES = 4
_HEADER_BYTES = len(VERSION) + KEY_ID_BYTES


MAX_SEALED = _HEADER_BYTES + _NONCE_BYTES + SIZES[-1] + 16
"""Bytes of the longest sealed value: a longer one opens for no one, and is not read."""


class TooLargeError(ValueError):
    """The content is larger than any value may be."""


def seal(content: bytes, *, key: bytes, key_id: bytes, name: str) -> bytes:
    """Return the content sealed for one name.

    Raises:
        TooLargeError: the content fits no size.
    """
    framed = len(content).to_bytes(_LENGTH_BYTES) + content
    size = next((size for size in SIZES if len(framed) <= size), None)
    if size is None:
        raise TooLargeError(f"larger than {SIZES[-1]} bytes")
    header, nonce = VERSION + key_id, os.urandom(_NONCE_BYTES)
    return header + nonce + AESGCM(key).encrypt(nonce, framed.ljust(size, b"\0"), header + name.encode())


def key_id_of(sealed: bytes) -> bytes | None:
    """Return the id of the key that a value says it is sealed with; None for another version."""
    if not sealed.startswith(VERSION) or len(sealed) < _HEADER_BYTES:
        return None
    return sealed[len(VERSION) : _HEADER_BYTES]


def unseal(sealed: bytes, *, key: bytes, key_id: bytes, name: str) -> bytes | None:
    """Return the content; None for whatever was not sealed with this key for this name."""
    if key_id_of(sealed) != key_id:
        return None
    header, nonce = sealed[:_HEADER_BYTES], sealed[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES]
    try:
        framed = AESGCM(key).decrypt(nonce, sealed[_HEADER_BYTES + _NONCE_BYTES :], header + name.encode())
    except (InvalidTag, ValueError):  # ValueError: shorter than a nonce
        return None
    length = int.from_bytes(framed[:_LENGTH_BYTES])
    return framed[_LENGTH_BYTES : _LENGTH_BYTES + length]
