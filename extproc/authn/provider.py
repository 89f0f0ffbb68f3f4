"""Fetching key documents: OIDC discovery, a fixed JWKS address, or a file.

Fetches follow no redirects, are limited in size and time, and use HTTPS. Clear text must be allowed for
each issuer, and is meant for loopback.
"""

import asyncio
import contextlib
import http.client
import re
import socket
import ssl
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from extproc import strictjson
from extproc.authn.jwks import KeyDocumentError
from extproc.authn.keys import KeyDocument
from extproc.authn.own_thread import in_own_thread

MAX_DOCUMENT_BYTES = 512 * 1024
CONNECT_TIMEOUT = 2.0  # seconds, for each address of the host
TOTAL_TIMEOUT = 5.0  # seconds, for one document
_SHOWN = 200  # characters of a value in an error
_DIRECTIVE = re.compile(r"""([\w!#$%&'*+.^`|~-]+)(?:=("(?:[^"\\]|\\.)*"|[^\s,;"]*))?""", re.ASCII)


class HttpDocuments:
    """Fetches JSON documents over HTTP, each in a thread of its own."""

    def __init__(self, *, ca_file: str | None = None, max_bytes: int = MAX_DOCUMENT_BYTES) -> None:
        self._ca_file = ca_file
        self._max_bytes = max_bytes

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Made in the thread of the first fetch that needs it: reading the authorities takes 30 ms.
        return ssl.create_default_context(cafile=self._ca_file)

    async def get(self, url: str, *, allow_http: bool) -> KeyDocument:
        """Fetch one document.

        Raises:
            KeyDocumentError: wrong scheme, unreachable, slow, too large, redirected, or not a 200.
        """
        call = _Call(_destination(url, allow_http=allow_http), lambda: self._tls, self._max_bytes)
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT):
                return await in_own_thread(call.run, name="keys")
        except KeyDocumentError as error:
            raise KeyDocumentError(f"{url}: {error}") from None
        except TimeoutError:
            raise KeyDocumentError(f"{url}: timed out") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise KeyDocumentError(f"{url}: {_in_words(error, urlsplit(url))}") from None
        finally:
            call.abort()


def _destination(url: str, *, allow_http: bool) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None:
        raise KeyDocumentError("not the URL of a document")  # not quoted: it may hold a password
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_http):
        raise KeyDocumentError(f"{url}: HTTPS is required")
    return parts


class _Call:
    """One blocking GET on a connection of its own, which another thread can abort.

    A socket's timeout limits single reads only. A server that sends a byte now and then would hold the
    thread forever, in the handshake, the headers or the size of a chunk. So the event loop shuts the
    connection down after ``TOTAL_TIMEOUT``.
    """

    def __init__(
        self, destination: SplitResult, tls: Callable[[], ssl.SSLContext], max_bytes: int = MAX_DOCUMENT_BYTES
    ) -> None:
        self._destination = destination
        self._tls = tls
        self._max_bytes = max_bytes
        self._handle: socket.socket | None = None
        self._aborted = False

    def abort(self) -> None:
        """Shut the connection down; a ``run`` in another thread then raises."""
        self._aborted = True
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._handle.shutdown(socket.SHUT_RDWR)
            self._handle.close()

    def run(self) -> KeyDocument:
        secure = self._destination.scheme == "https"
        host = self._destination.hostname or ""
        port = self._destination.port or (443 if secure else 80)
        with socket.create_connection((host, port), CONNECT_TIMEOUT) as plain:
            self._handle = plain.dup()  # stays valid when wrap_socket() takes the socket over
            if self._aborted:
                self.abort()
                raise KeyDocumentError("aborted")
            plain.settimeout(TOTAL_TIMEOUT)
            if not secure:
                return self._exchange(http.client.HTTPConnection(host, port), plain)
            tls = self._tls()
            with tls.wrap_socket(plain, server_hostname=host) as encrypted:
                return self._exchange(http.client.HTTPSConnection(host, port, context=tls), encrypted)

    def _exchange(self, connection: http.client.HTTPConnection, connected: socket.socket) -> KeyDocument:
        connection.sock = connected
        target = self._destination.path or "/"
        if self._destination.query:
            target += f"?{self._destination.query}"
        connection.request(
            "GET",
            target,
            headers={
                "accept": "application/json, application/jwk-set+json",
                "accept-encoding": "identity",
                "connection": "close",
            },
        )
        with connection.getresponse() as response:
            if response.status != http.client.OK:  # redirects too: none is followed
                raise KeyDocumentError(f"HTTP status {response.status}")
            if response.getheader("content-encoding", "identity").lower() != "identity":
                raise KeyDocumentError("compressed, which was not requested")
            body = response.read(self._max_bytes + 1)
            if len(body) > self._max_bytes:
                raise KeyDocumentError(f"larger than {self._max_bytes} bytes")
            if body.lstrip().startswith(b"<"):
                raise KeyDocumentError("a web page (HTML) in place of keys")
            if response.length:  # read(n) returns fewer bytes if the server hangs up
                raise KeyDocumentError("cut short")
            max_age = _max_age(response.getheader("cache-control", ""))
            return KeyDocument(body, max_age=max_age, date=response.getheader("date"))


def _in_words(error: Exception, destination: SplitResult) -> str:
    """Return what went wrong, with the error's type at the end."""
    kind = type(error).__name__
    if isinstance(error, socket.gaierror):
        return f"cannot resolve {destination.hostname}; check the name and this machine's DNS ({kind})"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing accepts connections at {destination.netloc} ({kind})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message} ({kind})"
    if isinstance(error, ssl.SSLError):
        return f"no TLS at {destination.netloc}; is it an http:// address? ({kind})"
    if isinstance(error, http.client.BadStatusLine) and destination.scheme == "http":
        return f"no HTTP at {destination.netloc}; is it an https:// address? ({kind})"
    return kind


def _max_age(cache_control: str) -> float | None:
    """Return the seconds of freshness that Cache-Control grants (RFC 9111 5.2.2), or None without any.

    The strictest directive wins. ``s-maxage`` is for shared caches, which this is not.
    """
    ages: list[float] = []
    for match in _DIRECTIVE.finditer(cache_control):
        name, argument = match[1].lower(), (match[2] or "").strip('"')
        if name in ("no-store", "no-cache"):
            ages.append(0.0)
        elif name == "max-age" and re.fullmatch(r"[0-9]{1,10}", argument):
            ages.append(float(argument))
    return min(ages, default=None)


class JwksUri:
    """A key set at a fixed address."""

    def __init__(self, *, uri: str, documents: HttpDocuments, allow_http: bool) -> None:
        self._uri = uri
        self._documents = documents
        self._allow_http = allow_http

    async def fetch(self) -> KeyDocument:
        """Fetch the key set."""
        return await self._documents.get(self._uri, allow_http=self._allow_http)


def metadata_url(issuer: str) -> str:
    """Return where an issuer's metadata is (OpenID Connect Discovery 1.0 section 4)."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def metadata_member(body: bytes, name: str, *, issuer: str) -> str:
    """Return one member of an issuer's metadata, a URL.

    Raises:
        KeyDocumentError: the metadata is not JSON or of another issuer, or lacks the member.
    """
    url = metadata_url(issuer)
    try:
        members = strictjson.loads_object(body)
    except strictjson.AmbiguousJSONError as error:
        raise KeyDocumentError(f"{url}: {error}") from None
    if members.get("issuer") != issuer:  # Discovery 4.3: must be identical
        seen, expected = _shown(members.get("issuer")), _shown(issuer)
        raise KeyDocumentError(f"{url}: its issuer is another one, {seen} and not {expected}")
    member = members.get(name)
    if not isinstance(member, str):
        raise KeyDocumentError(f"{url}: {name} is missing")
    return member


class Discovery:
    """A key set whose address comes from OpenID Connect Discovery 1.0 section 4."""

    def __init__(self, *, issuer: str, documents: HttpDocuments, allow_http: bool) -> None:
        self._issuer = issuer
        self._documents = documents
        self._allow_http = allow_http

    async def fetch(self) -> KeyDocument:
        """Fetch the provider's metadata, and the key set that it names."""
        return await self._documents.get(await self.jwks_uri(), allow_http=self._allow_http)

    async def jwks_uri(self) -> str:
        """Fetch the provider's metadata, check that it is this issuer's, and return its ``jwks_uri``.

        Raises:
            KeyDocumentError: it cannot be fetched, is of another issuer, or names no key set.
        """
        url = metadata_url(self._issuer)
        metadata = await self._documents.get(url, allow_http=self._allow_http)
        return await in_own_thread(
            partial(metadata_member, metadata.body, "jwks_uri", issuer=self._issuer), name="keys"
        )


def _shown(value: object) -> str:
    """Return the beginning of a provider's value, in ASCII and quotes."""
    return ascii(value)[:_SHOWN]


class JwksFile:
    """A key set from a file, for use without a network. Read again on every refresh."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> KeyDocument:
        """Read the file."""
        try:
            return KeyDocument(await in_own_thread(self._read, name="keys"))
        except OSError as error:
            raise KeyDocumentError(f"{self._path}: {error.strerror}") from None

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            body = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(body) > MAX_DOCUMENT_BYTES:
            raise KeyDocumentError(f"{self._path}: larger than {MAX_DOCUMENT_BYTES} bytes")
        return body
