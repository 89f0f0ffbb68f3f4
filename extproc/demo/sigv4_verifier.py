"""An independent SigV4 verifier: checks a signed request as AWS does.

Written from "Create a signed AWS API request" and "Elements of an AWS API request signature"
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html). It shares no code with the signer,
so that a mistake made there is not repeated here.

Not checked: presigned URLs (a signature in the query counts as a missing one), SigV4A, chunked
``STREAMING-*`` payloads, long-term credentials (a session token is always wanted) and replays inside the
time window.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from extproc.demo.sigv4_canonical import canonical_request
from extproc.demo.sigv4_request import (
    ALGORITHM,
    TERMINATOR,
    Authorization,
    ReceivedRequest,
    SignatureRejected,
    parse_authorization,
)

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"

# "The request must reach AWS within five minutes of the time stamp in the request."
DEFAULT_WINDOW: Final = timedelta(minutes=5)

_AMZ_DATE: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_SINGLE_HEADERS: Final = (
    "host",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
    "content-type",
)


@dataclass(frozen=True, slots=True)
class KnownCredential:
    """A temporary credential as its issuer keeps it; ``expiration`` is timezone-aware."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expiration: datetime
    arn: str
    session_name: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The requirements of an endpoint for every signature.

    Attributes:
        host: the only Host header value accepted, compared exactly.
        region: the region the credential scope must name.
        service: the signing name the credential scope must name.
        s3_style: take the path once encoded and not normalised, as S3 does.
        allow_unsigned_payload: accept ``x-amz-content-sha256: UNSIGNED-PAYLOAD``.
        window: accepted difference of X-Amz-Date and this clock, either way.
    """

    host: str
    region: str
    service: str
    s3_style: bool = False
    allow_unsigned_payload: bool = False
    window: timedelta = DEFAULT_WINDOW


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """The signer, and the headers that the signature covers."""

    access_key_id: str
    arn: str
    session_name: str
    region: str
    service: str
    signed_headers: tuple[str, ...]


def verify(
    request: ReceivedRequest,
    *,
    endpoint: Endpoint,
    lookup: Callable[[str], KnownCredential | None],
    now: datetime,
) -> VerifiedRequest:
    """Verify one request; ``now`` is timezone-aware.

    Raises:
        SignatureRejected: at the first check that fails. The steps are numbered in the order they run.
    """
    # 1. Exactly one Authorization header, in the form SigV4 gives it.
    claim = parse_authorization(request)
    # 2. Headers of which one value is read are present once.
    _require_single_headers(request, endpoint)
    # 3. The scope is that of the endpoint and of the day of X-Amz-Date, which is close to now.
    amz_date = _check_scope_and_time(request, claim, endpoint, now)
    # 4. The signature covers every header that matters.
    _check_signed_headers(request, claim.signed_headers)
    # 5. The key is known, the session token was issued with it, and neither has expired.
    credential = _check_credential(request, claim, lookup, now)
    # 6. The payload hash is that of the bytes received.
    payload_hash = _payload_hash(request, endpoint)
    # 7. The signature is the one computed here.
    canonical = canonical_request(
        request, signed_headers=claim.signed_headers, payload_hash=payload_hash, s3_style=endpoint.s3_style
    )
    scope = f"{claim.date}/{claim.region}/{claim.service}/{TERMINATOR}"
    string_to_sign = "\n".join((ALGORITHM, amz_date, scope, hashlib.sha256(canonical).hexdigest()))
    expected = _signature(credential.secret_access_key, claim, string_to_sign)
    if not hmac.compare_digest(expected.encode("ascii"), claim.signature.encode("ascii")):
        raise SignatureRejected(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        )
    return VerifiedRequest(
        access_key_id=credential.access_key_id,
        arn=credential.arn,
        session_name=credential.session_name,
        region=claim.region,
        service=claim.service,
        signed_headers=claim.signed_headers,
    )


def _require_single_headers(request: ReceivedRequest, endpoint: Endpoint) -> None:
    for name in _SINGLE_HEADERS:
        if len(request.values(name)) > 1:
            raise SignatureRejected("SignatureDoesNotMatch", f"Header '{name}' was sent more than once.")
    if request.values("host") != [endpoint.host.encode("ascii")]:
        raise SignatureRejected("SignatureDoesNotMatch", "The Host header does not name this endpoint.")


def _check_scope_and_time(
    request: ReceivedRequest, claim: Authorization, endpoint: Endpoint, now: datetime
) -> str:
    dates = request.values("x-amz-date")
    if not dates:
        raise SignatureRejected(
            "IncompleteSignature", "Authorization header requires an 'X-Amz-Date' header."
        )
    amz_date = dates[0].decode("latin-1")
    try:
        # The pattern comes first: strptime alone accepts fields of fewer digits.
        if _AMZ_DATE.fullmatch(amz_date) is None:
            raise ValueError(amz_date)  # noqa: TRY301 - one handler for both ways a date is wrong
        when = datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise SignatureRejected(
            "IncompleteSignature", "X-Amz-Date must be in ISO-8601 'basic format'."
        ) from None
    if not hmac.compare_digest(claim.date.encode(), amz_date[:8].encode()):
        raise SignatureRejected(
            "SignatureDoesNotMatch", "Date in Credential scope does not match X-Amz-Date."
        )
    if claim.region != endpoint.region:
        raise SignatureRejected("SignatureDoesNotMatch", "Credential should be scoped to a valid region.")
    if claim.service != endpoint.service:
        raise SignatureRejected(
            "SignatureDoesNotMatch", f"Credential should be scoped to correct service: '{endpoint.service}'."
        )
    if abs(now - when) > endpoint.window:
        raise SignatureRejected(
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        )
    return amz_date


def _check_signed_headers(request: ReceivedRequest, signed: Sequence[str]) -> None:
    present = request.names()
    required = {"host", "x-amz-date", "x-amz-security-token"}
    required |= {name for name in present if name.startswith("x-amz-") or name == "content-type"}
    for name in sorted(required - set(signed)):
        raise SignatureRejected("SignatureDoesNotMatch", f"'{name}' must be a signed header.")
    for name in signed:
        if name not in present:
            raise SignatureRejected("SignatureDoesNotMatch", f"Signed header '{name}' was not sent.")


def _check_credential(
    request: ReceivedRequest,
    claim: Authorization,
    lookup: Callable[[str], KnownCredential | None],
    now: datetime,
) -> KnownCredential:
    invalid = SignatureRejected(
        "InvalidClientTokenId", "The security token included in the request is invalid."
    )
    credential = lookup(claim.access_key_id)
    if credential is None or credential.access_key_id != claim.access_key_id:
        raise invalid
    # Step 4 made sure the header is there; step 2 that it is there once.
    token = request.values("x-amz-security-token")[0]
    if not hmac.compare_digest(token, credential.session_token.encode("utf-8")):
        raise invalid
    if now >= credential.expiration:
        raise SignatureRejected("ExpiredToken", "The security token included in the request is expired")
    return credential


def _payload_hash(request: ReceivedRequest, endpoint: Endpoint) -> str:
    actual = hashlib.sha256(request.body).hexdigest()
    declared = request.values("x-amz-content-sha256")
    if not declared:
        return actual
    if declared[0] == UNSIGNED_PAYLOAD.encode() and endpoint.allow_unsigned_payload:
        return UNSIGNED_PAYLOAD
    if not hmac.compare_digest(declared[0], actual.encode("ascii")):
        raise SignatureRejected(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    return actual


def _signature(secret: str, claim: Authorization, string_to_sign: str) -> str:
    key = b"AWS4" + secret.encode("utf-8")
    for part in (claim.date, claim.region, claim.service, TERMINATOR):
        key = hmac.digest(key, part.encode("utf-8"), "sha256")
    return hmac.digest(key, string_to_sign.encode("utf-8"), "sha256").hex()
