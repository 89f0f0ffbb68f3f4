"""The server secret, and the keys that are derived from it.

The secret alone opens no credentials: their keys come from the user's token, and the secret only salts them.
It names entries, so that whoever reads the store cannot test a guess, and it seals revocations.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_LEAST = 32  # bytes of a secret
_MOST_SECRETS = 2
KEY_ID_BYTES = 4
_CONTEXT = b"extproc shared store 1 "


class SecretError(ValueError):
    """The file with the server secret cannot be used. The message quotes nothing of it."""


def derive(key: bytes, *, salt: bytes, info: bytes) -> bytes:
    """Return 32 bytes that depend on all arguments: HKDF with SHA-256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=_CONTEXT + info).derive(key)


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """What is derived from one secret.

    Attributes:
        key_id: which secret it was; stands in front of what was named or sealed with it.
        salt: of the keys that seal credentials.
        revocations: seals revocations.
    """

    key_id: bytes
    salt: bytes = field(repr=False)
    revocations: bytes = field(repr=False)
    _names: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> "ServerKeys":
        """Derive the keys of a secret."""
        key_id, salt, revocations, names = (
            derive(secret, salt=b"", info=info) for info in (b"key id", b"salt", b"revocations", b"names")
        )
        return cls(key_id[:KEY_ID_BYTES], salt, revocations, names)

    def name(self, *parts: bytes) -> str:
        """Return the name of what the parts describe: the key id and an HMAC-SHA-256, in hexadecimal."""
        message = b"".join(len(part).to_bytes(4) + part for part in parts)
        return f"{self.key_id.hex()}.{hmac.digest(self._names, message, hashlib.sha256).hex()}"


def read_keys(path: Path) -> tuple[ServerKeys, ...]:
    """Return the keys of the file's secrets: the first is used for writing, the second for reading too.

    Raises:
        SecretError: the file cannot be read, or is not one or two lines of base64 of 32 bytes and more.
    """
    try:
        lines = path.read_bytes().split()
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}") from None
    if not 1 <= len(lines) <= _MOST_SECRETS:
        raise SecretError(f"{path}: must have one secret, or two during a rotation, each on its own line")
    try:
        secrets = [base64.b64decode(line, validate=True) for line in lines]
    except binascii.Error:
        raise SecretError(f"{path}: must be base64, as from: openssl rand -base64 32") from None
    if min(map(len, secrets)) < _LEAST:
        raise SecretError(f"{path}: a secret has at least {_LEAST} bytes, as from: openssl rand -base64 32")
    keys = tuple(ServerKeys.of(secret) for secret in secrets)
    if len({each.key_id for each in keys}) < len(keys):
        raise SecretError(f"{path}: the two secrets are the same")
    return keys
