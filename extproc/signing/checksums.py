"""The checksums of objects in S3, by the names in ``x-amz-checksum-*`` headers.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

import base64
import hashlib
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

PREFIX = "x-amz-checksum-"


@cache
def _crc(model: str) -> Callable[[bytes], int]:
    import anycrc  # noqa: PLC0415 - for uploads to S3 only

    calculate: Callable[[bytes], int] = anycrc.Model(model).calc
    return calculate


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


ALGORITHMS: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
        "crc32c": lambda data: _crc("CRC32-ISCSI")(data).to_bytes(4, "big"),
        "crc64nvme": lambda data: _crc("CRC64-NVME")(data).to_bytes(8, "big"),
        "md5": _md5,
        "sha1": _sha1,
        "sha256": lambda data: hashlib.sha256(data).digest(),
        "sha512": lambda data: hashlib.sha512(data).digest(),
    }
)
"""The supported algorithms. S3 also has three variants of xxHash."""


def is_known(header: str) -> bool:
    """Return whether a header's name, in lower case, is that of a supported checksum."""
    return header.startswith(PREFIX) and header.removeprefix(PREFIX) in ALGORITHMS


def checksum(header: str, data: bytes) -> str:
    """Return the checksum of data for a header, in Base64; raises ``KeyError`` for an unsupported one."""
    return base64.b64encode(ALGORITHMS[header.removeprefix(PREFIX)](data)).decode("ascii")
