"""What an answer of STS must be before it becomes credentials.

Its parts go into a signature and into a header, and its end decides how long they are used: none of
that may be whatever came back. The patterns allow what AWS documents
(https://docs.aws.amazon.com/STS/latest/APIReference/API_Credentials.html) and what MinIO and Ceph give.
"""

import re
from collections.abc import Mapping
from typing import Any

from extproc.values import Credentials

LEEWAY = 300.0
"""Seconds by which credentials may live longer than was asked for: what AWS allows clocks to differ."""

_PATTERNS = {
    "AccessKeyId": re.compile(r"[A-Za-z0-9]{1,128}", re.ASCII),
    # Printable, without space and comma: nothing that separates the parts of a header.
    "SecretAccessKey": re.compile(r"[!-+\--~]{1,512}", re.ASCII),
    # AWS sets no bound; Envoy takes 60 KiB of headers, the request's own included.
    "SessionToken": re.compile(r"[!-+\--~]{1,16384}", re.ASCII),
}


class UnusableAnswerError(Exception):
    """An answer without credentials that could be used; the message quotes nothing of it."""


def check_document(body: bytes) -> None:
    """Check the bytes before an XML parser reads them.

    Raises:
        UnusableAnswerError: it declares a document type, whose entities could stand for gigabytes.
    """
    # UTF-16 and UTF-32, in which the declaration would not be found, have null bytes around ASCII.
    if b"<!DOCTYPE" in body or b"\0" in body:
        raise UnusableAnswerError("it is not plain XML")


def credentials(answer: Mapping[str, Any], *, session_name: str, asked: int, now: float) -> Credentials:
    """Return the credentials of an answer as botocore parsed it.

    ``asked``: the duration asked for, in seconds; ``now``: seconds since the epoch by STS's clock.

    Raises:
        UnusableAnswerError: a part is missing or malformed, they have ended, live for longer than
            was asked for, or are of another role session.
        Exception: of another type, for what botocore did not parse into its types.
    """
    given = answer["Credentials"]
    for name, pattern in _PATTERNS.items():
        if not pattern.fullmatch(given[name]):
            raise UnusableAnswerError(f"its {name} is malformed")
    expires_at = given["Expiration"].timestamp()
    if not now < expires_at:
        raise UnusableAnswerError("its credentials have ended")
    if not expires_at <= now + asked + LEEWAY:
        raise UnusableAnswerError("its credentials live for longer than was asked for")
    # MinIO leaves the ARN out. Where there is one, it tells an answer to another request.
    arn = (answer.get("AssumedRoleUser") or {}).get("Arn") or ""
    if arn and arn.rpartition("/")[2] != session_name:
        raise UnusableAnswerError("it is for another role session")
    return Credentials(
        access_key_id=given["AccessKeyId"],
        secret_access_key=given["SecretAccessKey"],
        session_token=given["SessionToken"],
        expires_at=expires_at,
    )
