"""A small OpenID Connect provider for the demo: discovery, JWKS, clients, authorization, tokens.

There are four built-in accounts; tokens of one have ``azp``. The authorization page asks for no password:
choosing an account logs in, and so does a request whose ``login_hint`` names one.
"""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from extproc.demo.forms import FormError, read_body, read_form
from extproc.demo.idp_clients import Clients
from extproc.demo.idp_codes import CodeFlow
from extproc.demo.idp_documents import ClientDocuments
from extproc.demo.idp_errors import OAuthError
from extproc.demo.idp_exchange import ACCESS_TOKEN, GRANTS, TOKEN_EXCHANGE, Exchanges, user_object_id
from extproc.demo.idp_gateways import Gateway, Gateways
from extproc.demo.idp_grants import (
    ACCOUNTS,
    AUTHORIZED_PARTY_ACCOUNT,
    DEFAULT_LIFETIME,
    MAX_LIFETIME,
    Grants,
    TokenRequest,
)
from extproc.demo.idp_keys import ALGORITHMS, KeyRing
from extproc.demo.idp_page import account_page
from extproc.loopback import is_loopback_url

FAULTS: Final = (None, "error", "hang", "malformed", "consent_required", "interaction_required")
"""The last two are of exchanges: what the provider wants of the user."""

HANG_SECONDS: Final = 30.0  # longer than any sensible client waits
FORM_LIMIT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class IdpSettings:
    """The provider's settings.

    Attributes:
        issuer: the URL of the provider, without a trailing slash. Endpoints are under its path.
        audience: the ``aud`` of tokens, unless the client requests another.
        client_documents: accept client ids that are URLs of metadata documents.
    """

    issuer: str
    audience: str
    client_documents: bool = True

    def __post_init__(self) -> None:
        url = urlsplit(self.issuer)
        if url.scheme not in ("http", "https") or not url.netloc or self.issuer.endswith("/"):
            raise ValueError("issuer must be an http(s) URL without a trailing slash")
        if not self.audience:
            raise ValueError("audience must not be empty")


class Provider:
    """The provider's state and endpoints. A new endpoint adds a method and a route."""

    def __init__(self, settings: IdpSettings) -> None:
        self._settings = settings
        self._keys = KeyRing()
        self._faults: dict[str, str | None] = {"jwks": None, "discovery": None, "exchange": None}
        self._hits: Counter[str] = Counter()
        loopback = is_loopback_url(settings.issuer)
        documents = ClientDocuments(allow_loopback=loopback) if settings.client_documents else None
        self._clients = Clients(documents)
        self._codes = CodeFlow(issuer=settings.issuer)
        self._grants = Grants(audience=settings.audience, codes=self._codes)
        self._gateways = Gateways(issuer=settings.issuer, token_endpoint=f"{settings.issuer}/token")
        self._exchanges = Exchanges(
            issuer=settings.issuer, audience=settings.audience, gateways=self._gateways, keys=self._keys
        )

    def metadata(self) -> dict[str, Any]:
        """Return the document of OpenID Connect Discovery section 3, which RFC 8414 shares."""
        issuer = self._settings.issuer
        return {
            "issuer": issuer,
            "jwks_uri": f"{issuer}/jwks.json",
            "token_endpoint": f"{issuer}/token",
            "grant_types_supported": [*self._grants.types, *GRANTS],
            "authorization_endpoint": f"{issuer}/authorize",
            "registration_endpoint": f"{issuer}/register",
            "client_id_metadata_document_supported": self._settings.client_documents,
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": list(ALGORITHMS),
            "token_endpoint_auth_methods_supported": [
                "none",
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt",
            ],
            "scopes_supported": ["openid", "mcp"],
            "claims_supported": ["iss", "sub", "aud", "exp", "iat", "groups", "email"],
        }

    def issue(self, wanted: TokenRequest) -> str:
        """Sign an access token in the profile of RFC 9068."""
        now = int(time.time())
        # A token that is born expired was still issued before it expired.
        issued = now if wanted.lifetime > 0 else now + wanted.lifetime - DEFAULT_LIFETIME
        claims = {
            "iss": self._settings.issuer,
            "sub": wanted.subject,
            "aud": wanted.audience,
            "iat": issued,
            "nbf": issued,
            "exp": now + wanted.lifetime,
            "jti": str(uuid.uuid4()),
            "client_id": wanted.client_id,
            "scope": wanted.scope,
            "groups": list(wanted.groups),
            "email": f"{wanted.subject}@demo.example",
        }
        if wanted.account == AUTHORIZED_PARTY_ACCOUNT:
            claims |= {"azp": wanted.client_id, "oid": user_object_id(wanted.subject)}
        return self._keys.sign(claims, algorithm=wanted.algorithm)

    def issue_id_token(self, wanted: TokenRequest) -> str:
        """Sign an ID token (OpenID Connect Core 2): for the client, and about the login."""
        now = int(time.time())
        claims = {
            "iss": self._settings.issuer,
            "sub": wanted.subject,
            "aud": wanted.client_id,
            "iat": now,
            "exp": now + max(wanted.lifetime, 1),
            "groups": list(wanted.groups),
            "email": f"{wanted.subject}@demo.example",
            **({"nonce": wanted.nonce} if wanted.nonce is not None else {}),
        }
        return self._keys.sign(claims, algorithm=wanted.algorithm, token_type="JWT")  # noqa: S106 - a type

    async def discovery(self, request: Request) -> Response:
        """Serve the metadata, or the configured fault."""
        self._count(request)
        return await self._faulty("discovery") or JSONResponse(self.metadata())

    async def jwks(self, request: Request) -> Response:
        """Serve the key set, or the configured fault."""
        self._count(request)
        headers = {"cache-control": "max-age=300"}
        return await self._faulty("jwks") or JSONResponse(self._keys.jwks(), headers=headers)

    async def token(self, request: Request) -> Response:
        """Answer the token endpoint (RFC 6749 sections 4.3, 5.1 and 5.2)."""
        self._count(request)
        try:
            form = await read_form(request, limit=FORM_LIMIT)
            if form.get("grant_type") in GRANTS:
                return await self._exchange(form, request.headers.get("authorization"))
            wanted = self._grants.accept(form)
        except FormError as error:
            return _oauth_error(OAuthError("invalid_request", str(error)))
        except OAuthError as error:
            return _oauth_error(error)
        body: dict[str, Any] = {
            "access_token": self.issue(wanted),
            "token_type": "Bearer",
            "expires_in": max(wanted.lifetime, 0),
            "scope": wanted.scope,
        }
        if wanted.is_login and "openid" in wanted.scope.split():
            body["id_token"] = self.issue_id_token(wanted)
        if wanted.refresh_token is not None:
            body["refresh_token"] = wanted.refresh_token
        return JSONResponse(body, headers={"cache-control": "no-store", "pragma": "no-cache"})

    async def _exchange(self, form: Mapping[str, str], authorization: str | None) -> Response:
        """Answer a token exchange (RFC 8693 2.2.1), or with the configured fault."""
        self._hits["exchange"] += 1
        faulty = await self._faulty("exchange")
        if faulty is not None:
            return faulty
        fault = self._faults["exchange"]
        if fault is not None:
            raise OAuthError(fault, "AADSTS65001: the user or administrator has not consented")
        exchanged = self._exchanges.accept(form, authorization)
        body = {
            "access_token": exchanged.token,
            "token_type": "Bearer",
            "expires_in": exchanged.lifetime,
            "scope": exchanged.scope,
            **({"issued_token_type": ACCESS_TOKEN} if form["grant_type"] == TOKEN_EXCHANGE else {}),
        }
        return JSONResponse(body, headers={"cache-control": "no-store", "pragma": "no-cache"})

    async def gateways(self, request: Request) -> Response:
        """Register a confidential client that may exchange tokens."""
        try:
            gateway = Gateway.from_json(await request.json())
            self._gateways.register(gateway)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=HTTPStatus.BAD_REQUEST)
        return JSONResponse({"client_id": gateway.client_id, "shape": gateway.shape})

    async def register(self, request: Request) -> Response:
        """Register a client (RFC 7591)."""
        self._count(request)
        try:
            wanted = json.loads(await read_body(request, limit=FORM_LIMIT))
            return JSONResponse(
                self._clients.register(wanted), HTTPStatus.CREATED, headers={"cache-control": "no-store"}
            )
        except (FormError, ValueError):
            return _oauth_error(OAuthError("invalid_client_metadata", "a small JSON object is expected"))
        except OAuthError as error:
            return _oauth_error(error)

    async def authorize(self, request: Request) -> Response:
        """Let the browser choose an account, then send it back to the client with a code."""
        self._count(request)
        query = dict(request.query_params)
        try:
            wanted = self._codes.read(await self._clients.find(query.get("client_id", "")), query)
        except OAuthError as error:
            return _oauth_error(error)
        account = query.pop("login_hint", "")
        if account not in ACCOUNTS:
            return account_page(wanted, query, ACCOUNTS)
        headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
        return RedirectResponse(self._codes.approve(wanted, account), HTTPStatus.FOUND, headers=headers)

    async def healthz(self, _request: Request) -> Response:
        """Return 200: the process is running."""
        return JSONResponse({"status": "ok"})

    async def rotate(self, request: Request) -> Response:
        """Replace the signing keys; ``?drop=1`` unpublishes the old ones."""
        kids = self._keys.rotate(drop=request.query_params.get("drop") == "1")
        return JSONResponse({"kids": kids, "published": [key["kid"] for key in self._keys.jwks()["keys"]]})

    async def faults(self, request: Request) -> Response:
        """Set the faults named in the JSON body; the others stay as they are."""
        try:
            wanted = await request.json()
        except ValueError:
            wanted = None
        if not isinstance(wanted, dict) or not wanted.keys() <= self._faults.keys():
            return JSONResponse({"error": f"expected an object with keys of {sorted(self._faults)}"}, 400)
        if any(value not in FAULTS for value in wanted.values()):
            return JSONResponse({"error": f"a fault is one of {FAULTS}"}, 400)
        self._faults.update(wanted)
        return JSONResponse(self._faults)

    async def lifetime(self, request: Request) -> Response:
        """Set the lifetime in seconds of access tokens issued from now on for logins and refresh tokens."""
        try:
            seconds = (await request.json())["seconds"]
        except (ValueError, TypeError, KeyError):
            seconds = None
        if type(seconds) is not int or not 0 < seconds <= MAX_LIFETIME:
            return JSONResponse({"error": f"expected seconds from 1 to {MAX_LIFETIME}"}, 400)
        self._grants.lifetime = seconds
        return JSONResponse({"seconds": seconds})

    async def stats(self, _request: Request) -> Response:
        """Return the number of hits by endpoint path."""
        return JSONResponse({"hits": dict(self._hits)})

    def _count(self, request: Request) -> None:
        self._hits[request.url.path] += 1  # only routed paths are counted, so the counter is bounded

    async def _faulty(self, endpoint: str) -> Response | None:
        match self._faults[endpoint]:
            case "error":
                return JSONResponse({"error": "fault injected"}, status_code=500)
            case "malformed":
                return Response(b'{"keys": [', media_type="application/json")
            case "hang":
                await asyncio.sleep(HANG_SECONDS)
                return JSONResponse({"error": "fault injected"}, status_code=504)
            case _:
                return None


def _oauth_error(error: OAuthError) -> Response:
    body = {"error": error.error, "error_description": error.description}
    return JSONResponse(body, status_code=error.status, headers={"cache-control": "no-store"})


def create_app(settings: IdpSettings) -> Starlette:
    """Build the provider; its keys are made here, so this takes about 0.1 s."""
    provider = Provider(settings)
    # OpenID Connect appends the well-known suffix to the issuer; RFC 8414 section 3.1 inserts it.
    prefix = urlsplit(settings.issuer).path
    return Starlette(
        routes=[
            Route(f"{prefix}/.well-known/openid-configuration", provider.discovery, methods=["GET"]),
            Route(f"/.well-known/oauth-authorization-server{prefix}", provider.discovery, methods=["GET"]),
            Route(f"{prefix}/jwks.json", provider.jwks, methods=["GET"]),
            Route(f"{prefix}/token", provider.token, methods=["POST"]),
            Route(f"{prefix}/register", provider.register, methods=["POST"]),
            Route(f"{prefix}/authorize", provider.authorize, methods=["GET"]),
            Route("/healthz", provider.healthz, methods=["GET"]),
            Route("/_control/rotate", provider.rotate, methods=["POST"]),
            Route("/_control/faults", provider.faults, methods=["POST"]),
            Route("/_control/lifetime", provider.lifetime, methods=["POST"]),
            Route("/_control/gateways", provider.gateways, methods=["POST"]),
            Route("/_control/stats", provider.stats, methods=["GET"]),
        ]
    )
