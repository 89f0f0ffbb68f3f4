"""The demo's upstream: an MCP server behind a SigV4 check, in the place of AWS's.

Everything but ``/_control`` and ``/healthz`` passes the verifier first. ``/mcp`` is the MCP server, ``/sse``
a plain event stream, and any other path echoes the request.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import httpx2
from cachetools import TTLCache
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from extproc.demo.mcp_tools import SCOPE_KEY, build_server, caller_of
from extproc.demo.request_log import RequestLog, concluded, describe
from extproc.demo.sigv4_request import ReceivedRequest, SignatureRejected, unverified_access_key_id
from extproc.demo.sigv4_verifier import Endpoint, KnownCredential, VerifiedRequest, verify

CREDENTIAL_TTL: Final = 30.0  # seconds; a credential never changes, so this only bounds memory and staleness
LOOKUP_TIMEOUT: Final = 5.0  # seconds
MAX_EVENTS: Final = 10_000
MAX_EVENT_DELAY: Final = 60.0

# 401 without a usable identity, 403 for one that is refused.
_UNAUTHENTICATED: Final = frozenset({"MissingAuthenticationToken", "IncompleteSignature"})


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """The service that the upstream emulates.

    Attributes:
        sts_url: base URL of the STS emulator, without a trailing slash.
        host: the signing host; requests with any other Host header are rejected.
        region: the region of the credential scope.
        service: the signing name of the credential scope.
        body_limit: bytes of request body accepted; more is 413.
        allow_unsigned_payload: accept UNSIGNED-PAYLOAD, which the real service is not known to do.
        s3_style: canonicalise paths as S3 does.
    """

    sts_url: str
    host: str = "aws-mcp.us-east-1.api.aws"
    region: str = "us-east-1"
    service: str = "aws-mcp"
    body_limit: int = 16 * 1024 * 1024
    allow_unsigned_payload: bool = False
    s3_style: bool = False

    def __post_init__(self) -> None:
        if self.body_limit <= 0:
            raise ValueError("body_limit must be positive")


class _BodyTooLarge(Exception):  # noqa: N818 - local signal between two functions
    pass


class _Disconnected(Exception):  # noqa: N818 - local signal between two functions
    pass


class CredentialLookup:
    """Fetches credentials from the STS emulator and keeps them for ``CREDENTIAL_TTL``."""

    def __init__(self, *, sts_url: str, http: httpx2.AsyncClient) -> None:
        self._sts_url = sts_url
        self._http = http
        self._cache: TTLCache[str, KnownCredential] = TTLCache(maxsize=10_000, ttl=CREDENTIAL_TTL)

    async def fetch(self, unverified_key_id: str) -> KnownCredential | None:
        """Return a credential, or None for an unknown key id.

        Raises:
            httpx2.HTTPError: the emulator did not answer as expected.
        """
        known = self._cache.get(unverified_key_id)
        if known is not None:
            return known
        # The client can send any id: encode it, so that it stays one path segment.
        response = await self._http.get(
            f"{self._sts_url}/_control/credentials/{quote(unverified_key_id, safe='')}"
        )
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        response.raise_for_status()
        found = response.json()
        known = KnownCredential(
            access_key_id=unverified_key_id,
            secret_access_key=found["secret_access_key"],
            session_token=found["session_token"],
            expiration=datetime.fromisoformat(found["expiration"]),
            arn=found["arn"],
            session_name=found["session_name"],
        )
        self._cache[unverified_key_id] = known
        return known

    def clear(self) -> None:
        """Forget all credentials."""
        self._cache.clear()


class SignatureGate:
    """ASGI middleware: buffers the body, verifies the signature, records the request, then calls the app."""

    def __init__(
        self, app: ASGIApp, *, settings: UpstreamSettings, credentials: CredentialLookup, log: RequestLog
    ) -> None:
        self._app = app
        self._settings = settings
        self._credentials = credentials
        self._log = log
        self._endpoint = Endpoint(
            host=settings.host,
            region=settings.region,
            service=settings.service,
            s3_style=settings.s3_style,
            allow_unsigned_payload=settings.allow_unsigned_payload,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        try:
            body = await _read_body(receive, limit=self._settings.body_limit)
            outcome = None
        except _BodyTooLarge:
            body, outcome = b"", "BodyTooLarge"
        except _Disconnected:
            body, outcome = b"", "Disconnected"
        request = ReceivedRequest(
            method=scope["method"],
            raw_path=scope["raw_path"],
            raw_query=scope["query_string"],
            headers=tuple((name, value) for name, value in scope["headers"]),
            body=body,
        )
        record = describe(request, http_version=scope["http_version"])
        if outcome is not None:
            self._log.add(concluded(record, outcome=outcome))
            if outcome == "BodyTooLarge":
                answer = JSONResponse(
                    {"error": "request body too large"}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                )
                await answer(scope, receive, send)
            return
        try:
            verified = await self._verify(request)
        except SignatureRejected as rejected:
            self._log.add(concluded(record, outcome=rejected.code))
            await _rejection(self._settings, rejected, body)(scope, receive, send)
            return
        except (httpx2.HTTPError, ValueError, KeyError):
            self._log.add(concluded(record, outcome="CredentialLookupFailed"))
            answer = JSONResponse({"error": "credential lookup failed"}, HTTPStatus.SERVICE_UNAVAILABLE)
            await answer(scope, receive, send)
            return
        self._log.add(
            concluded(record, outcome="verified", access_key_id=verified.access_key_id, arn=verified.arn)
        )
        await self._app({**scope, SCOPE_KEY: verified}, _replay(body, receive), send)

    async def _verify(self, request: ReceivedRequest) -> VerifiedRequest:
        # The verifier does no I/O, so the credential it will look up is fetched before.
        credential = await self._credentials.fetch(unverified_access_key_id(request))
        return verify(
            request, endpoint=self._endpoint, lookup=lambda _key_id: credential, now=datetime.now(UTC)
        )


async def _read_body(receive: Receive, *, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        body += message.get("body", b"")
        if len(body) > limit:
            raise _BodyTooLarge
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        # After the body comes only the disconnect, which a streaming response must still receive.
        return pending.pop() if pending else await receive()

    return replayed


def _rejection(settings: UpstreamSettings, rejected: SignatureRejected, body: bytes) -> Response:
    status = HTTPStatus.UNAUTHORIZED if rejected.code in _UNAUTHENTICATED else HTTPStatus.FORBIDDEN
    answer = {
        "jsonrpc": "2.0",
        "id": _json_rpc_id(body),
        "error": {
            "code": -32001,
            "message": f"Authentication failed: {rejected.message}",
            "data": {"code": rejected.code},
        },
    }
    # The real service points OAuth clients at its own authorization server; a gateway must not pass this on.
    metadata = "https://aws.example/.well-known/oauth-protected-resource"
    challenge = f'Bearer realm="https://{settings.host}/mcp", resource_metadata="{metadata}"'
    headers = {"www-authenticate": challenge, "x-amzn-errortype": rejected.code}
    return JSONResponse(answer, status, headers=headers)


def _json_rpc_id(body: bytes) -> str | int | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = document.get("id") if isinstance(document, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


async def _echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse(
        {
            "method": request.method,
            "raw_path": request.scope["raw_path"].decode("latin-1"),
            "raw_query": request.scope["query_string"].decode("latin-1"),
            "body_length": len(body),
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "headers": [name.decode("latin-1") for name, _ in request.scope["headers"]],
            "arn": caller_of(request).arn,
        }
    )


async def _sse(request: Request) -> Response:
    try:
        count = int(request.query_params.get("n", "3"))
        delay = float(request.query_params.get("delay", "0.1"))
    except ValueError:
        return JSONResponse({"error": "n and delay must be numbers"}, HTTPStatus.BAD_REQUEST)
    if not 0 <= count <= MAX_EVENTS or not 0 <= delay <= MAX_EVENT_DELAY:
        return JSONResponse({"error": "n or delay is out of range"}, HTTPStatus.BAD_REQUEST)

    async def events() -> AsyncIterator[str]:
        for number in range(1, count + 1):
            await asyncio.sleep(delay)
            yield f"id: {number}\ndata: {json.dumps({'n': number, 'of': count})}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream", headers={"cache-control": "no-store"})


def create_app(
    settings: UpstreamSettings,
    *,
    transport: httpx2.AsyncBaseTransport | None = None,
    write_line: Callable[[str], None] = lambda _line: None,
) -> ASGIApp:
    """Build the upstream.

    Args:
        settings: the service to emulate.
        transport: replaces the network to the STS emulator, for tests.
        write_line: called with each line of the access log.
    """
    http = httpx2.AsyncClient(transport=transport, timeout=LOOKUP_TIMEOUT, trust_env=False)
    log = RequestLog(write_line)
    credentials = CredentialLookup(sts_url=settings.sts_url, http=http)
    mcp_app = build_server().streamable_http_app(
        streamable_http_path="/mcp",
        json_response=False,
        stateless_http=False,
        max_request_body_size=settings.body_limit,
        # The SDK answers 421 to an unknown Host: this one is the host the gateway rewrote to.
        transport_security=TransportSecuritySettings(
            enable_dns_rebinding_protection=True, allowed_hosts=[settings.host], allowed_origins=[]
        ),
    )

    async def protected(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/mcp":
            await mcp_app(scope, receive, send)
            return
        endpoint = _sse if scope["path"] == "/sse" and scope["method"] == "GET" else _echo
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)

    async def requests(_request: Request) -> Response:
        return JSONResponse(log.requests())

    async def stats(_request: Request) -> Response:
        return JSONResponse(log.totals())

    async def reset(_request: Request) -> Response:
        log.reset()
        credentials.clear()
        return JSONResponse({"status": "ok"})

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        # A parent does not run the lifespan of a mounted application, and the SDK needs it.
        async with http, mcp_app.router.lifespan_context(mcp_app):
            yield

    control = Starlette(
        lifespan=lifespan,
        routes=[
            Route("/_control/requests", requests, methods=["GET"]),
            Route("/_control/stats", stats, methods=["GET"]),
            Route("/_control/reset", reset, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
        ],
    )
    gate = SignatureGate(protected, settings=settings, credentials=credentials, log=log)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raw_path: Any = scope.get("raw_path") or b""
        open_path = raw_path == b"/healthz" or raw_path.startswith(b"/_control/")
        chosen = control if scope["type"] != "http" or open_path else gate
        await chosen(scope, receive, send)

    return app
