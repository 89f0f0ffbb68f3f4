"""The tokens a request carries: one bearer token (RFC 6750 section 2.1), and perhaps one for STS."""

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
    """The request's bearer token, still unverified.

    The scheme is case-insensitive (RFC 9110 11.1). Envoy joins several ``authorization`` headers with
    commas. Other schemes have commas between their parameters; a token has none.

    Raises:
        Denied: ``TOKEN_MISSING`` when no bearer token was sent at all, an AWS signature for instance;
            ``AUTHORIZATION_MALFORMED`` for several values or what is no token.
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
    """What to say to another scheme than Bearer, as the first of perhaps several values."""
    if any(part.strip(" \t")[:7].lower() in ("bearer", "bearer ") for part in value.split(",")[1:]):
        return Denied(Reason.AUTHORIZATION_MALFORMED, "several authorization values")
    if scheme == "aws" or scheme.startswith("aws4-"):  # Signature Version 2; 4 and 4A
        return Denied(Reason.TOKEN_MISSING, "an AWS signature of the client's own", told=_SIGNS_FOR_CLIENTS)
    return Denied(Reason.TOKEN_MISSING, "another authentication scheme")


def exchange_tokens(head: RequestHead, names: Iterable[str]) -> dict[str, str]:
    """The tokens in the headers of these names, still unverified; absent ones are left out.

    Raises:
        Denied: ``AUTHORIZATION_MALFORMED`` for several values or what is no token.
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


def _is_token68(text: str) -> bool:
    """Whether the text has token68's form (RFC 9110 11.2). Asked of every request's token."""
    if not text.isascii():
        return False
    # Several times as fast as a regular expression.
    body = text.encode("ascii").rstrip(b"=")
    return body != b"" and not body.translate(None, _TOKEN68)
