"""Fetching key documents: OIDC discovery, a fixed JWKS address, or a file.

Fetches follow no redirects, have limits on size and time, and use HTTPS; clear text
must be allowed for an issuer by name, and is meant for loopback.
"""

import asyncio
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from extproc import strictjson
from extproc.authn.keys import KeyDocument, KeyDocumentError

MAX_DOCUMENT_BYTES = 1024 * 1024
CONNECT_TIMEOUT = 2.0  # seconds
TOTAL_TIMEOUT = 5.0  # seconds, for one document
_CHUNK = 64 * 1024
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=\"?(\d{1,9})", re.IGNORECASE)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class HttpDocuments:
    """GET for JSON documents, in worker threads."""

    def __init__(self, *, ca_file: str | None = None) -> None:
        self._pool = urllib3.PoolManager(num_pools=8, maxsize=2, retries=False, ca_certs=ca_file)

    async def get(self, url: str, *, allow_http: bool) -> KeyDocument:
        """Fetch one document.

        Raises:
            KeyDocumentError: wrong scheme, unreachable, slow, too large, redirected, or not a 200.
        """
        scheme = urlsplit(url).scheme
        if scheme != "https" and not (scheme == "http" and allow_http):
            raise KeyDocumentError(f"{url}: HTTPS is required")
        return await asyncio.to_thread(self._get, url)

    def _get(self, url: str) -> KeyDocument:
        deadline = time.monotonic() + TOTAL_TIMEOUT
        try:
            response = self._pool.request(
                "GET",
                url,
                headers={"accept": "application/json, application/jwk-set+json"},
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=TOTAL_TIMEOUT),
                redirect=False,
                preload_content=False,
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise KeyDocumentError(f"{url}: {type(error).__name__}") from None
        try:
            if response.status != 200:  # noqa: PLR2004 - RFC 9110 15.3.1
                raise KeyDocumentError(f"{url}: HTTP status {response.status}")
            body = bytearray()
            # read1 returns what has arrived, so a drip-feeding server meets the deadline too.
            while chunk := response.read1(_CHUNK):
                body += chunk
                if len(body) > MAX_DOCUMENT_BYTES:
                    raise KeyDocumentError(f"{url}: larger than {MAX_DOCUMENT_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise KeyDocumentError(f"{url}: took longer than {TOTAL_TIMEOUT} s")
        except urllib3.exceptions.HTTPError as error:
            raise KeyDocumentError(f"{url}: {type(error).__name__}") from None
        else:
            match = _MAX_AGE.search(response.headers.get("cache-control", ""))
            return KeyDocument(bytes(body), max_age=float(match[1]) if match else None)
        finally:
            # Closing rather than reusing: an answer cut short must not taint the next one.
            response.close()


class JwksUri:
    """A key set at a fixed address."""

    def __init__(self, *, uri: str, documents: HttpDocuments, allow_http: bool) -> None:
        self._uri = uri
        self._documents = documents
        self._allow_http = allow_http

    async def fetch(self) -> KeyDocument:
        """Fetch the key set."""
        return await self._documents.get(self._uri, allow_http=self._allow_http)


class Discovery:
    """A key set found through OpenID Connect Discovery 1.0 section 4."""

    def __init__(self, *, issuer: str, documents: HttpDocuments, allow_http: bool) -> None:
        self._issuer = issuer
        self._documents = documents
        self._allow_http = allow_http

    async def fetch(self) -> KeyDocument:
        """Fetch the provider's metadata, check that it speaks for this issuer, fetch its key set."""
        url = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
        metadata = await self._documents.get(url, allow_http=self._allow_http)
        try:
            members = strictjson.loads_object(metadata.body)
        except strictjson.AmbiguousJSONError as error:
            raise KeyDocumentError(f"{url}: {error}") from None
        if members.get("issuer") != self._issuer:  # Discovery 4.3: identical, or not to be used
            raise KeyDocumentError(f"{url}: its issuer is another one")
        jwks_uri = members.get("jwks_uri")
        if not isinstance(jwks_uri, str):
            raise KeyDocumentError(f"{url}: jwks_uri is missing")
        return await self._documents.get(jwks_uri, allow_http=self._allow_http)


class JwksFile:
    """A key set from a file, for air-gapped use. Read again on every refresh."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def fetch(self) -> KeyDocument:
        """Read the file."""
        try:
            return KeyDocument(await asyncio.to_thread(self._path.read_bytes))
        except OSError as error:
            raise KeyDocumentError(f"{self._path}: {error.strerror}") from None


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine by name or address."""
    return urlsplit(url).hostname in _LOOPBACK
