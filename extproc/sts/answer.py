"""Validation of STS's answers before they become credentials.

Credentials go into a signature and a header, and their expiry decides how long they are used, so each
part is checked. The patterns allow what AWS documents
(https://docs.aws.amazon.com/STS/latest/APIReference/API_Credentials.html) and what MinIO and Ceph return.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from extproc.values import Credentials

LEEWAY = 300.0
"""Seconds by which credentials may live longer than requested: the difference of clocks that AWS allows."""

_PATTERNS = {
    "AccessKeyId": re.compile(r"[A-Za-z0-9]{1,128}", re.ASCII),
    # Printable, without space and comma, which separate the parts of a header.
    "SecretAccessKey": re.compile(r"[!-+\--~]{1,512}", re.ASCII),
    # AWS documents no limit; Envoy accepts 60 KiB of headers, the request's own included.
    "SessionToken": re.compile(r"[!-+\--~]{1,16384}", re.ASCII),
}


class UnusableAnswerError(Exception):
    """An answer without usable credentials; the message quotes nothing of it."""


def check_document(body: bytes) -> None:
    """Check the bytes before an XML parser reads them.

    Raises:
        UnusableAnswerError: it declares a document type, whose entities could expand to gigabytes.
    """
    # The declaration would not be found in UTF-16 and UTF-32, whose ASCII characters have null bytes.
    if b"<!DOCTYPE" in body or b"\0" in body:
        raise UnusableAnswerError("it is not plain XML")


def credentials(answer: Mapping[str, Any], *, session_name: str, duration: int, now: float) -> Credentials:
    """Return the credentials of an answer.

    Args:
        answer: the parsed answer, as ``query.result`` returns it.
        session_name: the requested role session name.
        duration: the requested duration, in seconds.
        now: seconds since the epoch by STS's clock.

    Raises:
        UnusableAnswerError: a part is malformed, or the credentials have expired, live longer
            than requested, or belong to another role session.
        Exception: of another type, if a part has another type.
    """
    given = answer["Credentials"]
    for name, pattern in _PATTERNS.items():
        if not pattern.fullmatch(given[name]):
            raise UnusableAnswerError(f"its {name} is malformed")
    expires_at = _timestamp(given["Expiration"])
    if not now < expires_at:
        raise UnusableAnswerError("its credentials have expired")
    if not expires_at <= now + duration + LEEWAY:
        raise UnusableAnswerError("its credentials live longer than requested")
    # MinIO omits the ARN. If there is one, it shows whether this is the answer to another request.
    arn = (answer.get("AssumedRoleUser") or {}).get("Arn") or ""
    if arn and arn.rpartition("/")[2] != session_name:
        raise UnusableAnswerError("it is for another role session")
    return Credentials(
        access_key_id=given["AccessKeyId"],
        secret_access_key=given["SecretAccessKey"],
        session_token=given["SessionToken"],
        expires_at=expires_at,
    )


def _timestamp(text: str) -> float:
    """Return seconds since the epoch of a time in ISO 8601."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UnusableAnswerError("its Expiration is malformed") from None
    if time.tzinfo is None:
        raise UnusableAnswerError("its Expiration has no time zone")
    return time.timestamp()
