"""The checksums that S3 takes of an object, by the names in its ``x-amz-checksum-*`` headers.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import anycrc

PREFIX = "x-amz-checksum-"

_CRC32C = anycrc.Model("CRC32-ISCSI")
_CRC64NVME = anycrc.Model("CRC64-NVME")


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


ALGORITHMS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
        "crc32c": lambda data: _CRC32C.calc(data).to_bytes(4, "big"),
        "crc64nvme": lambda data: _CRC64NVME.calc(data).to_bytes(8, "big"),
        "md5": _md5,
        "sha1": _sha1,
        "sha256": lambda data: hashlib.sha256(data).digest(),
        "sha512": lambda data: hashlib.sha512(data).digest(),
    }
)
"""Those that are computed here; S3 knows three of xxHash too."""


def is_known(header: str) -> bool:
    """Whether this header's name, in lower case, is that of a checksum that is computed here."""
    return header.startswith(PREFIX) and header.removeprefix(PREFIX) in ALGORITHMS


def checksum(header: str, data: bytes) -> str:
    """Return the checksum of data as the header of this name has it, in Base64; ``KeyError`` if unknown."""
    return base64.b64encode(ALGORITHMS[header.removeprefix(PREFIX)](data)).decode("ascii")
