"""A request as it arrived, and what its Authorization header claims."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"

_FIELD: Final = re.compile(r"(Credential|SignedHeaders|Signature)=([^\s,=]+)", re.ASCII)
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

Headers = Sequence[tuple[bytes, bytes]]


class SignatureRejected(Exception):  # noqa: N818 - the term of the domain: AWS rejects a signature
    """The request is not authentic.

    Attributes:
        code: AWS's error code, e.g. ``SignatureDoesNotMatch``.
        message: a sentence for the caller; it never holds key material.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request exactly as it arrived: nothing decoded, header names lower case, order kept.

    ``raw_query`` has no leading question mark; ``body`` is the de-chunked content.
    """

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)

    def values(self, name: str) -> list[bytes]:
        """Return every value of one header, in order of arrival."""
        wanted = name.encode("ascii")
        return [value for key, value in self.headers if key.lower() == wanted]

    def names(self) -> set[str]:
        """Return the lower-case names present."""
        return {key.lower().decode("latin-1") for key, _ in self.headers}


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parts of an Authorization header; nothing of it is verified.

    ``date``, ``region`` and ``service`` are those of the credential scope.
    """

    access_key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str


def unverified_access_key_id(request: ReceivedRequest) -> str:
    """Return the access key id the request claims, so that a caller can fetch its secret.

    Raises:
        SignatureRejected: the Authorization header is missing or not understood.
    """
    return parse_authorization(request).access_key_id


def parse_authorization(request: ReceivedRequest) -> Authorization:
    """Return what the only Authorization header claims.

    Raises:
        SignatureRejected: the header is missing, sent more than once or not understood.
    """
    fields = _authorization_fields(request)
    # An access key id has no slash, so a credential has exactly five parts.
    credential = fields["Credential"].split("/")
    if len(credential) != 5 or credential[4] != TERMINATOR or "" in credential:  # noqa: PLR2004 - see above
        raise SignatureRejected(
            "IncompleteSignature", "Credential must have exactly 5 slash-delimited elements."
        )
    if _SIGNATURE.fullmatch(fields["Signature"]) is None:
        raise SignatureRejected("IncompleteSignature", "Signature must be 64 lower-case hexadecimal digits.")
    signed = tuple(fields["SignedHeaders"].split(";"))
    if list(signed) != sorted(set(signed)) or any(not name or name != name.lower() for name in signed):
        raise SignatureRejected(
            "SignatureDoesNotMatch", "SignedHeaders must be sorted, unique and lower case."
        )
    return Authorization(
        access_key_id=credential[0],
        date=credential[1],
        region=credential[2],
        service=credential[3],
        signed_headers=signed,
        signature=fields["Signature"],
    )


def _authorization_fields(request: ReceivedRequest) -> dict[str, str]:
    values = request.values("authorization")
    if not values:
        raise SignatureRejected("MissingAuthenticationToken", "Request is missing Authentication Token")
    if len(values) > 1:
        raise SignatureRejected("IncompleteSignature", "More than one Authorization header was sent.")
    try:
        text = values[0].decode("ascii").strip(" \t")
    except UnicodeDecodeError:
        raise SignatureRejected("IncompleteSignature", "The Authorization header is not ASCII.") from None
    scheme, _, rest = text.partition(" ")
    if scheme != ALGORITHM:
        # The value itself is not echoed: it may be a bearer token.
        raise SignatureRejected("IncompleteSignature", f"Unsupported AWS 'algorithm'; use {ALGORITHM}.")
    fields: dict[str, str] = {}
    for part in rest.split(","):
        match = _FIELD.fullmatch(part.strip(" \t"))
        if match is None or match[1] in fields:
            raise SignatureRejected("IncompleteSignature", "The Authorization header is not understood.")
        fields[match[1]] = match[2]
    missing = {"Credential", "SignedHeaders", "Signature"} - fields.keys()
    if missing:
        raise SignatureRejected("IncompleteSignature", f"Authorization header requires {sorted(missing)}.")
    return fields
