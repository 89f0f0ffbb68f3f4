"""How AWS services say that credentials are expired, invalid or unknown, or that the clock is wrong.

In ``x-amzn-ErrorType``, or in the body only: S3 and the query services in XML, DynamoDB and other services of
the AWS JSON protocols in ``__type``. https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

import json
import re
from dataclasses import dataclass

_STATUSES = (400, 401, 403)  # with which credentials are refused
_BODY_TELLS = (400, 403)  # a 401 that names nothing says so already

LONGEST_BODY = 16 * 1024
"""Bytes of a body that are looked at. Errors of AWS have a few hundred."""

CREDENTIAL_ERRORS = frozenset(
    {
        "AuthFailure",  # EC2
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",  # S3
        "InvalidClientTokenId",
        "InvalidToken",
        "InvalidTokenId",  # MinIO
        "RequestExpired",
        "RequestTimeTooSkewed",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)

_TYPES = re.compile(r"(?:application|text)/(?:[a-z0-9.+-]*\+)?(?:xml|json|x-amz-json-1\.[01])", re.ASCII)
_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")
_SKEWED = re.compile(rb"Signature (?:expired|not yet current)")
"""What services that call a skewed clock a wrong signature say of it."""


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """The head of an upstream's response.

    Attributes:
        status: the HTTP status, 0 if there is none.
        error_type: the value of ``x-amzn-ErrorType``, without what follows a colon.
        content_type: in lower case, without parameters.
        content_length: bytes of the body; None if it has no such header.
        encoded: whether the body has a content encoding.
        has_body: whether a body follows.
    """

    status: int
    error_type: str | None = None
    content_type: str = ""
    content_length: int | None = None
    encoded: bool = False
    has_body: bool = True


def body_tells(response: UpstreamResponse) -> bool:
    """Return whether the body has to be read to know what the response says about credentials."""
    return (
        response.status in _BODY_TELLS
        and response.error_type is None
        and response.has_body
        and not response.encoded
        and (response.content_length or 1) <= LONGEST_BODY
        and (not response.content_type or _TYPES.fullmatch(response.content_type) is not None)
    )


def refuses_credentials(response: UpstreamResponse, error_code: str | None) -> bool:
    """Return whether a response says that AWS no longer takes the credentials it was asked with.

    ``error_code``: what the response's head or body names, if anything.
    """
    if response.status not in _STATUSES:
        return False
    return error_code in CREDENTIAL_ERRORS or (error_code is None and response.status == 401)  # noqa: PLR2004


def error_code(body: bytes) -> str | None:
    """Return the error code that a body names in XML or JSON, or None.

    Never raises. A wrong signature that is due to the clock becomes ``RequestTimeTooSkewed``.
    """
    text = body[:LONGEST_BODY]
    found = _XML_CODE.search(text)
    code = found[1].decode("ascii") if found else _json_code(text)
    if code in ("SignatureDoesNotMatch", "InvalidSignatureException") and _SKEWED.search(text):
        return "RequestTimeTooSkewed"
    return code


def _json_code(text: bytes) -> str | None:
    if text.lstrip()[:1] != b"{":
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for holder in (document, document.get("Error"), document.get("error")):
        if isinstance(holder, dict):
            for name in ("__type", "code", "Code"):
                value = holder.get(name)
                if isinstance(value, str):
                    # "com.amazonaws.dynamodb.v20120810#ExpiredTokenException", perhaps with ":http://…".
                    return value.partition(":")[0].rpartition("#")[2][:64]
    return None
