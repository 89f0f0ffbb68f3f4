"""One token endpoint: its discovery, requests to it, and its answers. All calls block.

``sts.https`` limits the time and size of answers, follows no redirects, and quotes nothing that was received.
"""

import random
import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

from extproc import strictjson
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.provider import metadata_member, metadata_url
from extproc.authn.token import MAX_TOKEN_BYTES
from extproc.errors import Denied, Reason
from extproc.loopback import is_loopback_url
from extproc.sts.https import HttpAnswer, HttpError
from extproc.token_exchange import errors
from extproc.token_exchange.client_authentication import ClientAuthentication
from extproc.token_exchange.form import RequestForm

_ATTEMPTS = 2  # an idle connection may break as it is used; the second attempt has a new one
_PAUSES = (0.05, 0.15)  # seconds between them, the shortest and the longest
_URL = re.compile(r"https?://[A-Za-z0-9\-._~:/\[\]!$&'()*+,;=%]+")  # without user, query and fragment
_DISCOVERED_FOR = 3600.0  # seconds until the metadata is read again


class Origin(Protocol):
    """A host: ``sts.https.HttpOrigin``."""

    def post(self, target: str, headers: Mapping[str, str], body: bytes, *, until: float) -> HttpAnswer:
        """Send a POST request; raises ``HttpError``."""
        ...

    def get(self, target: str, headers: Mapping[str, str], *, until: float) -> HttpAnswer:
        """Send a GET request; raises ``HttpError``."""
        ...

    def close(self) -> None:
        """Close idle connections."""
        ...


class TokenEndpoint:
    """Exchanges tokens at one endpoint. For any thread.

    Args:
        issuer: the provider; its metadata names the endpoint if ``url`` is None.
        allow_http: whether tokens may go over the network in clear text.
        connect: returns the client of a URL's host.
        timeout: seconds for an attempt.
        pause: sleeps for a number of seconds between attempts.
    """

    def __init__(
        self,
        *,
        issuer: str,
        url: str | None,
        allow_http: bool,
        form: RequestForm,
        authentication: ClientAuthentication,
        connect: Callable[[str], Origin],
        timeout: float,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._issuer = issuer
        self._configured = url
        self._allow_http = allow_http
        self._form = form
        self._authentication = authentication
        self._timeout = timeout
        self._connect = connect
        self._pause = pause
        self._found: tuple[str, Origin, float] | None = None

    def exchange(self, unverified_token: str, until: float) -> str:
        """Return the token, yet unverified, that the provider gives for a user's.

        ``until``: when to give up, in ``time.monotonic`` seconds.

        Raises:
            Denied: with a reason of the token exchange; the detail quotes nothing that was received.
        """
        url, origin = self._endpoint(until)
        try:
            answer = self._patiently(lambda by: self._post(origin, url, unverified_token, by), until)
        except HttpError as error:
            self._found = None  # the provider may have moved it
            raise Denied(Reason.TOKEN_EXCHANGE_UNAVAILABLE, f"{url}: {error}") from None
        if answer.status != HTTPStatus.OK:
            raise errors.denied(answer.status, answer.body, answer.headers)
        return _token(answer.body)

    def _post(self, origin: Origin, url: str, unverified_token: str, until: float) -> HttpAnswer:
        """Send one attempt. The provider may have read an earlier one: assertions are used once."""
        proof = self._authentication.proof(url)
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/x-www-form-urlencoded",
            **proof.headers,
        }
        body = self._form.body(unverified_token, proof)
        return origin.post(urlsplit(url).path or "/", headers, body, until=until)

    def find(self, until: float) -> str:
        """Return the endpoint's URL: the configured one, or that of the provider's metadata.

        Raises:
            Denied: ``TOKEN_EXCHANGE_UNAVAILABLE`` or ``TOKEN_EXCHANGE_MISCONFIGURED``.
        """
        return self._endpoint(until)[0]

    def _endpoint(self, until: float) -> tuple[str, Origin]:
        found = self._found
        if found is not None and time.monotonic() < found[2]:
            return found[:2]
        url = self._configured or self._discovered(until)
        # Concurrent threads may all do this once; the connections of the last one are kept.
        origin = found[1] if found is not None and found[0] == url else self._connect(url)
        self._found = url, origin, time.monotonic() + _DISCOVERED_FOR
        return url, origin

    def _discovered(self, until: float) -> str:
        place = metadata_url(self._issuer)
        origin = self._connect(place)
        try:
            answer = self._patiently(
                lambda by: origin.get(urlsplit(place).path, {"accept": "application/json"}, until=by), until
            )
        except HttpError as error:
            raise Denied(Reason.TOKEN_EXCHANGE_UNAVAILABLE, f"{place}: {error}") from None
        finally:
            origin.close()
        if answer.status != HTTPStatus.OK:
            raise Denied(Reason.TOKEN_EXCHANGE_UNAVAILABLE, f"{place}: HTTP status {answer.status}")
        try:
            url = metadata_member(answer.body, "token_endpoint", issuer=self._issuer)
            parts = urlsplit(url)
            usable = bool(_URL.fullmatch(url) and parts.hostname) and parts.port != 0
        except KeyDocumentError as error:
            raise Denied(Reason.TOKEN_EXCHANGE_MISCONFIGURED, f"{error}; set token_endpoint") from None
        except ValueError:
            usable = False
        if not usable or not self._is_safe(url):
            raise Denied(
                Reason.TOKEN_EXCHANGE_MISCONFIGURED,
                f"{place}: its token_endpoint is no https:// URL; set token_endpoint",
            )
        return url

    def _is_safe(self, url: str) -> bool:
        return url.startswith("https:") or self._allow_http or is_loopback_url(url)

    def _patiently(self, attempt: Callable[[float], HttpAnswer], until: float) -> HttpAnswer:
        for number in range(1, _ATTEMPTS + 1):
            try:
                return attempt(min(until, time.monotonic() + self._timeout))
            except HttpError:
                pause = random.uniform(*_PAUSES)  # noqa: S311 - to spread load
                if number == _ATTEMPTS or time.monotonic() + pause >= until:
                    raise
                self._pause(pause)
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover - for the type checker

    def close(self) -> None:
        """Close idle connections."""
        if self._found is not None:
            self._found[1].close()


def _token(body: bytes) -> str:
    """Return the token of a successful answer (RFC 6749 5.1, RFC 8693 2.2.1)."""
    try:
        members = strictjson.loads_object(body)
    except strictjson.AmbiguousJSONError as error:
        raise Denied(
            Reason.TOKEN_EXCHANGE_UNAVAILABLE, f"the token endpoint's answer is unusable: {error}"
        ) from None
    token = members.get("access_token")  # also if it is an ID token (RFC 8693 2.2.1)
    if not isinstance(token, str) or not token or len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise Denied(
            Reason.TOKEN_EXCHANGE_MISCONFIGURED, "the token endpoint's answer has no usable access_token"
        )
    return token
