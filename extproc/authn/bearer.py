"""The tokens of a request: one bearer token (RFC 6750 section 2.1), and perhaps one for STS."""

import string
from collections.abc import Iterable

from extproc.errors import Denied, Reason
from extproc.values import RequestHead

_SIGNS_FOR_CLIENTS = (
    "This gateway signs requests for you: send your OIDC access token as a bearer token in the authorization "
    "header, and no AWS signature. docs/targets.md of extproc-sigv4 says how."
)
_TOKEN68 = (string.ascii_letters + string.digits + "-._~+/").encode()


def bearer_token(head: RequestHead) -> str:
    """Return the request's bearer token, still unverified.

    The scheme is case-insensitive (RFC 9110 11.1). Envoy joins several ``authorization`` headers with
    commas. Other schemes have commas between their parameters; a token has none.

    Raises:
        Denied: ``TOKEN_MISSING`` if no bearer token was sent, but an AWS signature for instance;
            ``AUTHORIZATION_MALFORMED`` for several values or a malformed token.
    """
    values = head.values("authorization")
    if not values:
        raise Denied(Reason.TOKEN_MISSING)
    if len(values) > 1:
        raise Denied(Reason.AUTHORIZATION_MALFORMED, "several authorization values")
    scheme, _, unverified_token = values[0].strip(" \t").partition(" ")
    if scheme.lower() != "bearer":
        raise _other_scheme(scheme.lower(), values[0])
    unverified_token = unverified_token.strip(" ")
    if not unverified_token:
        # RFC 6750 3.1: no authentication information, so no error code.
        raise Denied(Reason.TOKEN_MISSING, "the Bearer scheme without a token")
    if not _is_token68(unverified_token):
        raise Denied(Reason.AUTHORIZATION_MALFORMED, "not one token68 value")
    return unverified_token


def _other_scheme(scheme: str, value: str) -> Denied:
    """Return the denial of a value whose scheme is not Bearer; several values may be joined in it."""
    if any(part.strip(" \t")[:7].lower() in ("bearer", "bearer ") for part in value.split(",")[1:]):
        return Denied(Reason.AUTHORIZATION_MALFORMED, "several authorization values")
    if scheme == "aws" or scheme.startswith("aws4-"):  # Signature Version 2; 4 and 4A
        return Denied(
            Reason.TOKEN_MISSING, "an AWS signature of the client's own", client_text=_SIGNS_FOR_CLIENTS
        )
    return Denied(Reason.TOKEN_MISSING, "another authentication scheme")


def exchange_tokens(head: RequestHead, names: Iterable[str]) -> dict[str, str]:
    """Return the tokens in the headers with these names, still unverified; absent headers are left out.

    Raises:
        Denied: ``AUTHORIZATION_MALFORMED`` for several values or a malformed token.
    """
    found: dict[str, str] = {}
    for name in names:
        values = head.values(name)
        if not values:
            continue
        if len(values) > 1 or not _is_token68(values[0]):
            raise Denied(Reason.AUTHORIZATION_MALFORMED, f"{name} is not one token")
        found[name] = values[0]
    return found


def _is_token68(value: str) -> bool:
    """Return whether a value has the form of token68 (RFC 9110 11.2)."""
    if not value.isascii():
        return False
    # Runs for every request; several times as fast as a regular expression.
    body = value.encode("ascii").rstrip(b"=")
    return body != b"" and not body.translate(None, _TOKEN68)
