"""Recognize responses in which AWS services reject a signature or its credentials, and the cause.

The error code is in ``x-amzn-ErrorType``, or only in the body: in XML for S3 and the query services, in
``__type`` for DynamoDB and other services of the AWS JSON protocols.
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum

_STATUSES = (400, 401, 403)  # of rejected signatures and credentials
_READ_BODY = (400, 403)  # a 401 is a rejection even without an error code

LONGEST_BODY = 16 * 1024
"""Bytes of a body that are read. Errors of AWS have a few hundred."""

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

_CLOCK_ERRORS = frozenset({"RequestExpired", "RequestTimeTooSkewed"})

_MISMATCHES = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"})

_TYPES = re.compile(r"(?:application|text)/(?:[a-z0-9.+-]*\+)?(?:xml|json|x-amz-json-1\.[01])", re.ASCII)
_XML_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")
_SKEWED = re.compile(rb"Signature (?:expired|not yet current)")
"""Message of services whose error code for a skewed clock is that of a wrong signature."""
_SCOPE = re.compile(
    rb"Credential should be scoped to (?:a |the )?(?:valid|correct) (region|service)"
    rb"|the (region) '[^']{1,64}' is wrong"  # S3
)
_MISMATCH = b"The request signature we calculated does not match"


class Cause(StrEnum):
    """Why AWS rejected a signature or its credentials."""

    CREDENTIALS = "credentials"  # expired, invalid or unknown: new ones may help
    CLOCK = "clock"  # the time of the signature is too far from AWS's
    REGION = "region"  # wrong region in the credential scope
    SERVICE = "service"  # wrong service in the credential scope
    BODY = "body"  # the body does not match its hash
    MISSING = "missing"  # the signature or a part of it is missing
    SIGNATURE = "signature"  # AWS computed another one: the request changed after it was signed

    @property
    def new_credentials_may_help(self) -> bool:
        """Return whether an exchange may help. It also measures the difference to AWS's clock."""
        return self in (Cause.CREDENTIALS, Cause.CLOCK)


_CAUSES = {
    "IncompleteSignature": Cause.MISSING,
    "IncompleteSignatureException": Cause.MISSING,
    "MissingAuthenticationToken": Cause.MISSING,
    "MissingAuthenticationTokenException": Cause.MISSING,
    "MissingSecurityHeader": Cause.MISSING,  # S3
    "XAmzContentSHA256Mismatch": Cause.BODY,  # S3
}

_SIGNATURE_ERRORS = _MISMATCHES | _CAUSES.keys() | {"AuthorizationHeaderMalformed"}  # of S3


@dataclass(frozen=True, slots=True)
class Rejection:
    """AWS rejected the signature or its credentials. ``code``: AWS's error code; empty if it gave none."""

    cause: Cause
    code: str


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """The head of an upstream's response.

    Attributes:
        status: the HTTP status; 0 if there is none.
        error_type: the value of ``x-amzn-ErrorType`` up to a colon; None without the header.
        content_type: the media type in lower case, without parameters.
        content_length: bytes of the body; None without the header.
        encoded: whether the body has a content encoding.
        has_body: whether a body follows.
    """

    status: int
    error_type: str | None = None
    content_type: str = ""
    content_length: int | None = None
    encoded: bool = False
    has_body: bool = True


def is_success(response: UpstreamResponse) -> bool:
    """Return whether the response has a body and a status of success (RFC 9110 15.3)."""
    return response.has_body and 200 <= response.status < 300  # noqa: PLR2004


def body_tells(response: UpstreamResponse) -> bool:
    """Return whether the body is needed to know whether the response is a rejection, and its cause."""
    return (
        response.status in _READ_BODY
        and (response.error_type is None or response.error_type in _SIGNATURE_ERRORS)
        and response.has_body
        and not response.encoded
        and (response.content_length or 1) <= LONGEST_BODY
        and (not response.content_type or _TYPES.fullmatch(response.content_type) is not None)
    )


def rejection(response: UpstreamResponse, body: bytes = b"") -> Rejection | None:
    """Return the rejection in a response, or None if it is not one. Never raises.

    ``body`` is needed where ``body_tells``. Only error codes are returned: the messages of such errors may
    quote the canonical request and, in it, the session token.
    """
    return _rejection(response, body[:LONGEST_BODY]) if response.status in _STATUSES else None


def _rejection(response: UpstreamResponse, text: bytes) -> Rejection | None:
    code = response.error_type or error_code(text)
    if code in _MISMATCHES and _SKEWED.search(text):
        code = "RequestTimeTooSkewed"
    if code in _CLOCK_ERRORS:
        return Rejection(Cause.CLOCK, code)
    if code in CREDENTIAL_ERRORS or (code is None and response.status == 401):  # noqa: PLR2004
        return Rejection(Cause.CREDENTIALS, code or "")
    if code is not None and code not in _SIGNATURE_ERRORS:
        return None
    scope = _SCOPE.search(text)
    if scope is not None:  # some services give this message without a code
        return Rejection(Cause((scope[1] or scope[2]).decode()), code or "")
    if code is None and _MISMATCH not in text:
        return None
    return Rejection(_CAUSES.get(code or "", Cause.SIGNATURE), code or "")


def error_code(body: bytes) -> str | None:
    """Return the error code in a body of XML or JSON, or None. Never raises."""
    text = body[:LONGEST_BODY]
    found = _XML_CODE.search(text)
    return found[1].decode("ascii") if found else _json_code(text)


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
