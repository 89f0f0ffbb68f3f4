"""The request that ``extproc sign`` reads, and its signature."""

import base64
import binascii
import re
import time
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from extproc import strictjson
from extproc.header_names import ALWAYS_SIGNED
from extproc.signing import sigv4
from extproc.signing.hosts import default_payload
from extproc.signing.sigv4 import Scope, Signature
from extproc.signing.targets import Target
from extproc.validation import problems

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 5.6.2  # noqa: S105 - a grammar rule
_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]+)(?P<rest>[/?].*)?", re.DOTALL | re.IGNORECASE)
_SET_BY_US = frozenset({"authorization", "x-amz-date"})


class BadRequestError(ValueError):
    """The input cannot be signed; ``problems`` are ``path: message`` lines."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _time(value: str) -> str:
    try:
        if not re.fullmatch(r"\d{8}T\d{6}Z", value, re.ASCII):
            raise ValueError(value)  # noqa: TRY301 - one handler for both kinds of wrong times
        time.strptime(value, "%Y%m%dT%H%M%SZ")
    except ValueError:
        raise ValueError("must be like 20150830T123600Z") from None
    return value


def _url(value: str) -> str:
    if not _URL.fullmatch(value) and not value.startswith("/"):
        raise ValueError("must be an http(s) URL, or a path together with a host header")
    return value


def _base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64") from None
    return value


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class _Credentials(_Model):
    access_key_id: Annotated[str, Field(pattern=r"^[\w/+=.-]{1,128}$")]
    secret_access_key: str = Field(min_length=1, repr=False)
    session_token: str | None = Field(default=None, min_length=1, repr=False)


_Header = Annotated[list[str], Field(min_length=2, max_length=2)]
_HeaderName = Annotated[str, Field(pattern=rf"^{_TOKEN}$")]
_ScopePart = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.*-]{1,64}$")]


class SignRequest(_Model):
    """One request and how to sign it. ``url`` may contain spaces and UTF-8, which are encoded."""

    method: Annotated[str, Field(pattern=rf"^{_TOKEN}$")]
    url: Annotated[str, AfterValidator(_url)]
    headers: list[_Header] = []
    body: str | None = None
    body_base64: Annotated[str, AfterValidator(_base64)] | None = None
    region: _ScopePart
    service: _ScopePart
    credentials: _Credentials
    time: Annotated[str, AfterValidator(_time)] | None = None
    payload: Literal["signed", "unsigned"] | None = None
    sign_headers: list[_HeaderName] = []
    normalize_path: bool | None = None
    double_encode: bool | None = None
    content_sha256_header: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "SignRequest":
        if self.body is not None and self.body_base64 is not None:
            raise ValueError("body and body_base64 exclude each other")
        for position, (name, _) in enumerate(self.headers):
            if not re.fullmatch(_TOKEN, name):
                raise ValueError(f"headers[{position}]: not a header name")
        if len([name for name, _ in self.headers if name.lower() == "host"]) > 1:
            raise ValueError("headers: host is there twice")
        if not self.host:
            raise ValueError("url: has no host, and headers have none")
        return self

    @property
    def host(self) -> str:
        """The value of the host header, or what a client would send for the URL."""
        for name, value in self.headers:
            if name.lower() == "host":
                return value
        match = _URL.fullmatch(self.url)
        if match is None:
            return ""
        authority = match["authority"].rpartition("@")[2].lower()
        return authority.removesuffix(":443" if match["scheme"].lower() == "https" else ":80")

    @property
    def target(self) -> tuple[str, str]:
        """The path and the query. A fragment is never sent, so it is not signed."""
        match = _URL.fullmatch(self.url)
        rest = (match["rest"] or "/") if match else self.url
        path, _, query = rest.partition("#")[0].partition("?")
        return path or "/", query

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        if self.body_base64 is not None:
            return base64.b64decode(self.body_base64)
        return (self.body or "").encode("utf-8")


def parse(document: bytes) -> SignRequest:
    """Read the JSON of one request.

    Raises:
        BadRequestError: it is not JSON, or not a ``SignRequest``.
    """
    try:
        return SignRequest.model_validate(strictjson.loads_object(document))
    except strictjson.AmbiguousJSONError as error:
        raise BadRequestError([f"document: {error}"]) from None
    except ValidationError as error:
        raise BadRequestError(problems(error)) from None


def sign(request: SignRequest, *, now: float) -> tuple[Signature, dict[str, str]]:
    """Return the signature with its checkpoints, and the headers to send (with host).

    It covers host, content-type, the ``x-amz-*`` headers that signing sets, and ``sign_headers``. Defaults
    for path and payload depend on the service.
    """
    scope = Scope(request.region, request.service)
    payload_mode = request.payload or default_payload(request.service)
    defaults = Target(name="", host=request.host, scope=scope, payload=payload_mode)
    at = request.time or sigv4.timestamp(now)
    payload = sigv4.UNSIGNED_PAYLOAD if payload_mode == "unsigned" else sigv4.payload_hash(request.content)
    ours = {"host": request.host, "x-amz-date": at}
    if request.credentials.session_token is not None:
        ours["x-amz-security-token"] = request.credentials.session_token
    if _choose(request.content_sha256_header, defaults.sends_payload_hash):
        ours["x-amz-content-sha256"] = payload
    wanted = (ALWAYS_SIGNED | {name.lower() for name in request.sign_headers}) - _SET_BY_US - ours.keys()
    theirs = [(name, value) for name, value in request.headers if name.lower() in wanted]
    path, query = request.target
    prepared = sigv4.prepare(
        headers=sigv4.CanonicalHeaders.of(sigv4.canonical_headers([*ours.items(), *theirs])),
        at=at,
        scope=scope,
        access_key_id=request.credentials.access_key_id,
        key=sigv4.signing_key(request.credentials.secret_access_key, at[:8], scope),
    )
    signature = sigv4.sign(
        prepared,
        method=request.method,
        uri=sigv4.canonical_uri(
            path,
            normalize=_choose(request.normalize_path, not defaults.s3_style),
            double_encode=_choose(request.double_encode, not defaults.s3_style),
        ),
        query=sigv4.canonical_query(query),
        payload=payload,
    )
    return signature, {**ours, "authorization": signature.authorization}


def _choose(explicit: bool | None, default: bool) -> bool:  # noqa: FBT001 - two values of one setting
    return default if explicit is None else explicit
