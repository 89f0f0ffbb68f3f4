"""Types of values that several sections of the configuration share, with their validation."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from extproc.header_names import (
    ALWAYS_REPLACED,
    ALWAYS_SIGNED,
    CHANGED_ON_THE_WAY,
    CHANGED_PREFIXES,
    FORWARDED_UNSIGNED,
    FRAMING,
    REFUSED,
    matches,
)
from extproc.loopback import is_loopback_url
from extproc.policy.arn import validate_any_role_arn
from extproc.policy.cel import ExpressionError
from extproc.policy.matchers import cel_matcher
from extproc.policy.session_policy import validate_policy, validate_policy_arn
from extproc.signing.hosts import LABEL

_HOST = re.compile(rf"(?:{LABEL}\.)*{LABEL}(?::[0-9]{{1,5}})?")
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})")
_SOCKET_PATH = re.compile(r"/[\x21-\x7e]+")
_SOCKET_PATH_LENGTH = 107  # sockaddr_un.sun_path without its closing zero
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")  # RFC 3986 2; no quotes, no spaces
_DEFAULT_PORT = re.compile(r"(?:^http:.*:80|^https:.*:443)$")
_NOT_A_TOKENS_HEADER = ("x-amz", "x-extproc-", "x-request-id", *CHANGED_PREFIXES)
_HEADER_PATTERN = re.compile(r"[a-z0-9-]+|[a-z0-9-]{3,}-\*")
# Treated by name whatever a pattern says, so that a pattern may cover them.
_TREATED_BY_NAME = ALWAYS_REPLACED | REFUSED | FORWARDED_UNSIGNED


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an http(s) URL without query or fragment")
    if not value.startswith(f"{parts.scheme}:"):  # whether a URL is encrypted is seen by its beginning
        raise ValueError(f"must begin with {parts.scheme}:// in lower case")
    # urlsplit silently drops some control characters, and validates the port only when it is read.
    if not _URL_CHARACTERS.fullmatch(value) or "@" in parts.netloc or parts.port == 0:
        raise ValueError("must be an http(s) URL without user name, spaces or quotes")
    return value


def is_plaintext(url: str | None) -> bool:
    """Return whether a URL leads to another machine without encryption."""
    return url is not None and url.startswith("http:") and not is_loopback_url(url)


def expression(compile_: Callable[[str], object]) -> Callable[[str], str]:
    """Return a validator of CEL expressions that uses one of the functions that compile them."""

    def validate(value: str) -> str:
        try:
            compile_(value)
        except ExpressionError as error:
            raise ValueError(f"CEL: {error}") from None
        return value

    return validate


def grpc_address(value: str) -> str:
    """Return the value if it is ``HOST:PORT`` or ``unix:/path``; raises ``ValueError`` otherwise."""
    if not value.startswith("unix:"):
        return host_port(value)
    path = value.removeprefix("unix:")
    if not _SOCKET_PATH.fullmatch(path) or len(path) > _SOCKET_PATH_LENGTH:
        raise ValueError("must be HOST:PORT, or unix:/path with an absolute path of at most 107 characters")
    return value


def host_port(value: str) -> str:
    """Return the value if it is ``HOST:PORT``; raises ``ValueError`` otherwise."""
    match = _ADDRESS.fullmatch(value)
    if not match or int(match["port"]) > 65_535:  # noqa: PLR2004 - the largest port number
        raise ValueError("must be HOST:PORT")
    return value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("must be a lower-case host name, with a port only if it is not the default one")
    return value


def _prefix(value: str) -> str:
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", value) or "/." in value:
        raise ValueError("must be a path like /aws, without a slash at the end")
    return value


def _origin(value: str) -> str:
    parts = urlsplit(_http_url(value))
    if value != f"{parts.scheme}://{parts.netloc}".lower() or _DEFAULT_PORT.search(value):
        raise ValueError("must be scheme://host as browsers send it: lower case, no path, no default port")
    return value


def origin_of(url: str) -> str:
    """Return the web origin of an http or https URL, as browsers send it."""
    parts = urlsplit(url.lower())
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin.rpartition(":")[0] if _DEFAULT_PORT.search(origin) else origin


def _token_header(value: str) -> str:
    name = value.lower()
    if not re.fullmatch(r"x-[a-z0-9-]{1,62}", name) or name.startswith(_NOT_A_TOKENS_HEADER):
        raise ValueError("must be a header name like x-id-token, and not one that Envoy or AWS use")
    return name


def _header_pattern(value: str) -> str:
    pattern = value.lower()
    if not _HEADER_PATTERN.fullmatch(pattern):
        like = ", or a pattern like x-amz-meta-*" if "*" in pattern else ""
        raise ValueError(f"must be a header name{like}")
    return pattern


def _signable(value: str) -> str:
    pattern = _header_pattern(value)
    changing = any(matches(pattern, name) for name in CHANGED_ON_THE_WAY) or any(
        matches(pattern, prefix) or pattern.startswith(prefix) for prefix in CHANGED_PREFIXES
    )
    if pattern in REFUSED:
        raise ValueError(f"{pattern} is never taken from a client")
    if changing or pattern in _TREATED_BY_NAME | ALWAYS_SIGNED:
        raise ValueError(f"{pattern} is signed already, or changes on the way and cannot be")
    return pattern


def _message(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("must be one line of printable text without spaces around it")
    return value


def _withholdable(value: str) -> str:
    pattern = _header_pattern(value)
    if any(matches(pattern, name) for name in FRAMING | ALWAYS_SIGNED) or pattern in ALWAYS_REPLACED:
        raise ValueError(f"{pattern} is always replaced, or needed to forward the request")
    return pattern


def moment(value: object) -> float:
    """Return a time in RFC 3339 with its zone as seconds since the epoch; YAML may have read it already."""
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) and "T" in value.upper() else value
    except ValueError:
        read = None
    if not isinstance(read, datetime) or read.tzinfo is None:
        raise ValueError("must be a time with its zone, as 2026-12-24T18:00:00+01:00")
    return read.timestamp()


Moment = Annotated[float, BeforeValidator(moment)]
Url = Annotated[str, AfterValidator(_http_url)]
GrpcAddress = Annotated[str, AfterValidator(grpc_address)]
HostPort = Annotated[str, AfterValidator(host_port)]
Host = Annotated[str, AfterValidator(_host)]
Prefix = Annotated[str, AfterValidator(_prefix)]
Origin = Annotated[str, AfterValidator(_origin)]
TokenHeader = Annotated[str, AfterValidator(_token_header)]
SignableHeader = Annotated[str, AfterValidator(_signable)]
RoleArn = Annotated[str, AfterValidator(validate_any_role_arn)]  # Settings checks the form for AWS
WithholdableHeader = Annotated[str, AfterValidator(_withholdable)]
PolicyArn = Annotated[str, AfterValidator(validate_policy_arn)]
InlinePolicy = Annotated[str, AfterValidator(validate_policy)]
Matcher = Annotated[str, AfterValidator(expression(cel_matcher))]
Message = Annotated[str, AfterValidator(_message), Field(min_length=1, max_length=500)]
RuleName = Annotated[str, Field(min_length=1, max_length=128)]
ScopeName = Annotated[str, Field(pattern=r"^[\x21\x23-\x5B\x5D-\x7E]+$")]  # RFC 6749 3.3
SessionDuration = Annotated[int, Field(ge=900, le=43_200)]  # STS's limits


def repeated(values: Iterable[str]) -> list[str]:
    """Return the values that are listed more than once, sorted."""
    return sorted(value for value, count in Counter(values).items() if count > 1)


def repetitions(path: str, values: Iterable[str]) -> list[str]:
    """Return a warning for each value that is listed more than once."""
    return [f"{path}: {value!r} is listed twice" for value in repeated(values)]


class Section(BaseModel):
    """A mapping with known keys only. It is immutable."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        hide_input_in_errors=True,
        # A section's validator is built when it is first used: within that of the whole document, once.
        defer_build=True,
    )
