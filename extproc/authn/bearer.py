"""The tokens a request carries: one bearer token (RFC 6750 section 2.1), and perhaps one for STS."""

import string
from collections.abc import Iterable

from extproc.errors import Denied, Reason
from extproc.values import RequestHead

_TOKEN68 = (string.ascii_letters + string.digits + "-._~+/").encode()


def bearer_token(head: RequestHead) -> str:
    """The request's bearer token, still unverified.

    Envoy joins several ``authorization`` headers with commas, so a comma means that
    there was more than one value. The scheme is case-insensitive (RFC 9110 11.1).

    Raises:
        Denied: ``TOKEN_MISSING`` when no bearer credentials were sent at all,
            ``AUTHORIZATION_MALFORMED`` when there is more or less than one token.
    """
    values = head.values("authorization")
    if not values:
        raise Denied(Reason.TOKEN_MISSING)
    if len(values) > 1 or "," in values[0]:
        raise Denied(Reason.AUTHORIZATION_MALFORMED, "several authorization values")
    scheme, _, unverified_token = values[0].strip(" \t").partition(" ")
    if scheme.lower() != "bearer":
        raise Denied(Reason.TOKEN_MISSING, "another authentication scheme")
    unverified_token = unverified_token.strip(" ")
    if not _is_token68(unverified_token):
        raise Denied(Reason.AUTHORIZATION_MALFORMED, "not one token68 value")
    return unverified_token


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
