"""An emulator of STS's AssumeRoleWithWebIdentity, and of AssumeRole with the credentials that it gives.

It checks the token, the trust policy and every limit, and answers as AWS does. Its credentials are valid at
the demo's own upstream, which fetches them from ``/_control/credentials``; at AWS that happens inside IAM.
Nothing under ``/_control`` is protected: keep it on a loopback address.
"""

import base64
import hashlib
import math
import secrets
import string
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import httpx2
from cachetools import LRUCache
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extproc.demo.forms import FormError, parse_form, read_body
from extproc.demo.sigv4_verifier import KnownCredential
from extproc.demo.sts_chain import FirstSession, chained_session, verified_key_id
from extproc.demo.sts_faults import Fault, act
from extproc.demo.sts_tokens import BUILT_IN, FETCH_TIMEOUT, TokenVerifier, WebIdentity
from extproc.demo.sts_trust import ASSUME, Context, TrustDocument, TrustPolicy
from extproc.demo.sts_wire import (
    ASSUME_ROLE,
    MAX_POLICY,
    AssumeRoleRequest,
    StsError,
    Xml,
    error_response,
    parse_assume_role,
    success_response,
    with_aws_headers,
)

FORM_LIMIT: Final = 128 * 1024  # bytes; the longest token is 20,000
MAX_CREDENTIALS: Final = 50_000
MAX_SUBJECTS: Final = 10_000
MIN_SESSION_TOKEN_SIZE: Final = 400  # characters, about what AWS issues
MAX_CLIENT_IDS: Final = 100  # of an IAM OIDC provider
_KEY_ALPHABET: Final = string.ascii_uppercase + "234567"


@dataclass(frozen=True, slots=True)
class StsSettings:
    """The account that is emulated.

    Attributes:
        providers: client ids by URL, the account's IAM OIDC providers; a URL must equal ``iss``.
        roles: trust policies by role ARN.
        credential_lifetime: lifetime of every credential in seconds; None uses the requested one.

    Raises:
        ValueError: a provider has more client ids than IAM takes.
    """

    providers: Mapping[str, frozenset[str]]
    roles: Mapping[str, TrustPolicy | TrustDocument]
    credential_lifetime: int | None = None

    def __post_init__(self) -> None:
        for url, client_ids in self.providers.items():
            if len(client_ids) > MAX_CLIENT_IDS:
                raise ValueError(f"{url}: IAM takes at most {MAX_CLIENT_IDS} client ids")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "StsSettings":
        """Return the providers and roles that ``extproc aws --format json`` printed."""
        providers: dict[str, frozenset[str]] = {}
        roles: dict[str, TrustPolicy | TrustDocument] = {}
        for account in document["accounts"]:
            for provider in account["oidc_providers"]:
                providers[provider["url"]] = frozenset(provider["client_ids"])
            for role in account["roles"]:
                roles[role["arn"]] = TrustDocument.from_json(
                    role["trust_policy"], max_session_duration=role["max_session_duration"]
                )
        return cls(providers=providers, roles=roles)


@dataclass(frozen=True, slots=True)
class IssuedCredential:
    """A temporary credential and the request it was issued for."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expiration: datetime
    arn: str
    request: AssumeRoleRequest
    identity: WebIdentity


class StsEmulator:
    """The emulator's state and endpoints."""

    def __init__(self, settings: StsSettings, *, tokens: TokenVerifier) -> None:
        self._settings = settings
        self._tokens = tokens
        self._lifetime: int | None = None
        self._credentials: LRUCache[str, IssuedCredential] = LRUCache(maxsize=MAX_CREDENTIALS)
        self._reset()

    async def call(self, request: Request) -> Response:
        """Answer one call of the query protocol."""
        request_id = str(uuid.uuid4())
        self._calls += 1
        mode, delay = self._fault.take()
        try:
            broken = await act(mode, delay)
            if broken is not None:
                self._errors[str(mode)] += 1
                return with_aws_headers(broken, request_id=request_id)
            wanted, result = await self._assume_role(request)
        except StsError as error:
            self._errors[error.code] += 1
            return error_response(error, request_id=request_id)
        self._ok += 1
        return success_response(result, request_id=request_id, action=wanted.action)

    async def _assume_role(self, request: Request) -> tuple[AssumeRoleRequest, Mapping[str, Xml]]:
        # 1. Parameters are within the limits of the service model.
        try:
            body = await read_body(request, limit=FORM_LIMIT)
            wanted = parse_assume_role(parse_form(request, body))
        except FormError as error:
            raise StsError("MalformedInput", str(error)) from None
        if wanted.action == ASSUME_ROLE:
            return wanted, self._chain(request, body, wanted)
        # 2. The call is unsigned; an Authorization header shows a client that signs it wrongly.
        if "authorization" in request.headers:
            raise StsError(
                "InvalidClientTokenId", "This call takes no Authorization header", HTTPStatus.FORBIDDEN
            )
        # 3. The token is authentic, current and for this account.
        identity = await self._tokens.verify(wanted.unverified_token)
        # 4. The role exists and its policy admits the identity; AWS does not say which of the two failed.
        policy = self._settings.roles.get(wanted.role.text)
        provider_arn, context = _trust_request(wanted, identity)
        for action in _actions(identity):
            if policy is None or not policy.permits(action, provider_arn, context):
                raise StsError("AccessDenied", f"Not authorized to perform {action}", HTTPStatus.FORBIDDEN)
        assert policy is not None  # noqa: S101 - there is at least one action
        # 5. The role allows the requested duration.
        _check_duration(wanted, policy)
        credential = self._issue(wanted, identity)
        self._by_subject[identity.subject] = self._by_subject.get(identity.subject, 0) + 1
        return wanted, _result(credential, identity)

    def _chain(self, request: Request, body: bytes, wanted: AssumeRoleRequest) -> Mapping[str, Xml]:
        """Assume a second role with the credentials that signed the call."""
        key_id = verified_key_id(request, body, lookup=self._known)
        first = self._credentials[key_id]
        policy = self._settings.roles.get(wanted.role.text)
        session = chained_session(FirstSession(first.request.role, first.identity.session), wanted, policy)
        assert policy is not None  # noqa: S101 - it admitted the first role
        _check_duration(wanted, policy)
        credential = self._issue(wanted, replace(first.identity, session=session))
        return {
            name: value
            for name, value in _result(credential, credential.identity).items()
            if name not in ("SubjectFromWebIdentityToken", "Provider", "Audience")
        }

    def _known(self, key_id: str) -> KnownCredential | None:
        credential = self._credentials.get(key_id)
        if credential is None:
            return None
        return KnownCredential(
            access_key_id=key_id,
            secret_access_key=credential.secret_access_key,
            session_token=credential.session_token,
            expiration=credential.expiration,
            arn=credential.arn,
            session_name=credential.request.session_name,
        )

    def _issue(self, wanted: AssumeRoleRequest, identity: WebIdentity) -> IssuedCredential:
        lifetime = wanted.duration if self._lifetime is None else self._lifetime
        role = wanted.role
        token_size = max(MIN_SESSION_TOKEN_SIZE, wanted.session_token_size)
        credential = IssuedCredential(
            access_key_id="ASIA" + "".join(secrets.choice(_KEY_ALPHABET) for _ in range(16)),
            secret_access_key=base64.b64encode(secrets.token_bytes(30)).decode("ascii"),
            session_token=base64.b64encode(secrets.token_bytes(math.ceil(token_size / 4) * 3)).decode(
                "ascii"
            ),
            # Whole seconds, as in the XML.
            expiration=datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=lifetime),
            arn=f"arn:{role.partition}:sts::{role.account}:assumed-role/{role.name}/{wanted.session_name}",
            request=wanted,
            identity=identity,
        )
        self._credentials[credential.access_key_id] = credential
        return credential

    async def credentials(self, request: Request) -> Response:
        """Return one credential with its secret, or 404."""
        credential = self._credentials.get(request.path_params["access_key_id"])
        if credential is None:
            return JSONResponse({"error": "unknown access key id"}, status_code=HTTPStatus.NOT_FOUND)
        return JSONResponse(
            {
                "secret_access_key": credential.secret_access_key,
                "session_token": credential.session_token,
                "expiration": _iso(credential.expiration),
                "arn": credential.arn,
                "role_arn": credential.request.role.text,
                "session_name": credential.request.session_name,
                "policy": credential.request.policy,
                "policy_arns": list(credential.request.policy_arns),
                "tags": dict(credential.identity.session.tags),
                "source_identity": credential.identity.session.source_identity,
            }
        )

    async def faults(self, request: Request) -> Response:
        """Replace the present fault, and the credential lifetime if the body has one."""
        try:
            document = await request.json()
            if not isinstance(document, dict):
                raise ValueError("expected a JSON object")  # noqa: TRY004, TRY301 - one answer for all of these
            unknown = document.keys() - {"mode", "delay", "count", "credential_lifetime"}
            if unknown:
                raise ValueError(f"unknown fields {sorted(unknown)}")  # noqa: TRY301 - as above
            lifetime = document.get("credential_lifetime", self._lifetime)
            if lifetime is not None and type(lifetime) is not int:
                raise ValueError("credential_lifetime must be null or whole seconds")  # noqa: TRY301 - as above
            self._fault = Fault.from_json(document)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=HTTPStatus.BAD_REQUEST)
        self._lifetime = lifetime
        return JSONResponse(
            {
                "mode": self._fault.mode,
                "delay": self._fault.delay,
                "count": self._fault.count,
                "credential_lifetime": self._lifetime,
            }
        )

    async def stats(self, _request: Request) -> Response:
        """Return counters since the start or the last reset."""
        return JSONResponse(
            {
                "calls": self._calls,
                "ok": self._ok,
                "errors": dict(self._errors),
                "by_subject": dict(self._by_subject.items()),
            }
        )

    async def reset(self, _request: Request) -> Response:
        """Clear faults and counters. Issued credentials stay valid, as a client may hold them."""
        self._reset()
        return JSONResponse({"status": "ok"})

    async def healthz(self, _request: Request) -> Response:
        """Return 200: the process is running."""
        return JSONResponse({"status": "ok"})

    def _reset(self) -> None:
        self._fault = Fault()
        self._lifetime = self._settings.credential_lifetime
        self._calls = 0
        self._ok = 0
        self._errors: Counter[str] = Counter()
        self._by_subject: LRUCache[str, int] = LRUCache(maxsize=MAX_SUBJECTS)


def _iso(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _trust_request(wanted: AssumeRoleRequest, identity: WebIdentity) -> tuple[str, Context]:
    """Return the name of the provider in trust policies, and the condition keys of a call."""
    role, session = wanted.role, identity.session
    identifier = identity.issuer.partition("://")[2]
    key = identifier.lower()
    context = {
        f"{key}:aud": (identity.audience,),
        f"{key}:oaud": identity.original_audiences,
        f"{key}:sub": (identity.subject,),
        "sts:rolesessionname": (wanted.session_name,),
        **{f"aws:requesttag/{name.lower()}": (value,) for name, value in session.tags.items()},
        **({"sts:sourceidentity": (session.source_identity,)} if session.source_identity else {}),
    }
    if identity.issuer in BUILT_IN:
        return identifier, context
    return f"arn:{role.partition}:iam::{role.account}:oidc-provider/{identifier}", context


def _actions(identity: WebIdentity) -> list[str]:
    """Return the actions that the trust policy must allow."""
    session = identity.session
    tagging = ["sts:TagSession"] if session.tags else []
    return [ASSUME, *tagging, *(["sts:SetSourceIdentity"] if session.source_identity else [])]


def _check_duration(wanted: AssumeRoleRequest, policy: TrustPolicy | TrustDocument) -> None:
    if wanted.duration > policy.max_session_duration:
        raise StsError(
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        )


def _result(credential: IssuedCredential, identity: WebIdentity) -> Mapping[str, Xml]:
    wanted = credential.request
    # AWS's role ids are fixed for a role, so this one is a function of its ARN.
    digest = base64.b32encode(hashlib.sha256(wanted.role.text.encode()).digest()).decode("ascii")
    result: dict[str, Xml] = {
        "Credentials": {
            "AccessKeyId": credential.access_key_id,
            "SecretAccessKey": credential.secret_access_key,
            "SessionToken": credential.session_token,
            "Expiration": _iso(credential.expiration),
        },
        "SubjectFromWebIdentityToken": identity.subject,
        "AssumedRoleUser": {
            "AssumedRoleId": f"AROA{digest[:17]}:{wanted.session_name}",
            "Arn": credential.arn,
        },
        "Provider": identity.issuer,
        "Audience": identity.audience,
    }
    if identity.session.source_identity:
        result["SourceIdentity"] = identity.session.source_identity
    size = len(wanted.policy or "") + sum(map(len, wanted.policy_arns))
    if size:
        result["PackedPolicySize"] = str(math.ceil(100 * size / MAX_POLICY))
    return result


def create_app(settings: StsSettings, *, transport: httpx2.AsyncBaseTransport | None = None) -> Starlette:
    """Build the emulator; ``transport`` replaces the network to the providers, for tests."""
    # trust_env=False: the environment's proxies do not apply to the demo's own processes.
    http = httpx2.AsyncClient(
        transport=transport, timeout=FETCH_TIMEOUT, trust_env=False, follow_redirects=False
    )
    emulator = StsEmulator(settings, tokens=TokenVerifier(providers=settings.providers, http=http))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with http:
            yield

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/", emulator.call, methods=["POST"]),
            Route("/_control/credentials/{access_key_id}", emulator.credentials, methods=["GET"]),
            Route("/_control/faults", emulator.faults, methods=["POST"]),
            Route("/_control/stats", emulator.stats, methods=["GET"]),
            Route("/_control/reset", emulator.reset, methods=["POST"]),
            Route("/healthz", emulator.healthz, methods=["GET"]),
        ],
    )
