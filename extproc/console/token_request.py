"""The request to an issuer's token endpoint (RFC 6749 4.1.3): bounded in time and size, no redirects."""

import asyncio
import base64
import http.client
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from extproc import strictjson

_TIMEOUT = 10.0  # seconds
_MAX_ANSWER = 256 * 1024  # bytes


class TokenRequestError(Exception):
    """There is no answer, or an error. The message quotes nothing of it."""


async def post_form(
    url: str, form: Mapping[str, str], *, client_id: str, secret: str | None, allow_http: bool
) -> dict[str, Any]:
    """Return the JSON object with which a token endpoint answers.

    Args:
        url: the endpoint.
        form: the parameters.
        client_id: the client's, for ``secret``.
        secret: for a confidential client (RFC 6749 2.3.1).
        allow_http: for a provider on this machine.

    Raises:
        TokenRequestError: there is none.
    """
    if not url.startswith("https://") and not allow_http:
        raise TokenRequestError("HTTPS is required")
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    if secret is not None:
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
        headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    try:
        async with asyncio.timeout(_TIMEOUT):
            status, body = await asyncio.to_thread(_post, url, urlencode(form).encode(), headers)
    except (OSError, TimeoutError, http.client.HTTPException, ValueError) as error:
        raise TokenRequestError(type(error).__name__) from None
    if status != http.client.OK:
        raise TokenRequestError(f"HTTP status {status}")
    try:
        return strictjson.loads_object(body)
    except strictjson.AmbiguousJSONError:
        raise TokenRequestError("the answer is not JSON") from None


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT)
    try:
        connection.request("POST", parts._replace(scheme="", netloc="").geturl() or "/", body, dict(headers))
        with connection.getresponse() as response:
            content = response.read(_MAX_ANSWER + 1)
            if len(content) > _MAX_ANSWER:
                raise ValueError("too large")
            return response.status, content
    finally:
        connection.close()
