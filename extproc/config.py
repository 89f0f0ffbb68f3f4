"""The configuration file: YAML into frozen, validated settings.

Everything that can be known without the network is checked here; what loads is usable.
Unknown keys are refused, and so are duplicate ones. Errors read ``path: message``.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from extproc.authn.claims import ClaimValue
from extproc.authn.keys import SUPPORTED_ALGORITHMS
from extproc.authn.provider import is_loopback
from extproc.authn.token import MAX_TOKEN_BYTES
from extproc.authn.verifier import NEVER_ACCEPTED_TYPES
from extproc.policy.arn import validate_role_arn
from extproc.policy.cel import ExpressionError
from extproc.policy.matchers import account_expression, cel_matcher, name_expression
from extproc.policy.session_policy import SessionPolicy, session_policy, validate_policy, validate_policy_arn
from extproc.signing.hosts import default_payload, infer_scope
from extproc.signing.sigv4 import Scope
from extproc.values import MAX_CHAINED_DURATION

_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?::[0-9]{1,5})?")
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})")
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")  # RFC 3986 2; no quotes, no spaces
_ACCOUNT = "{account}"
_DEFAULT_PORT = re.compile(r"(?:^http:.*:80|^https:.*:443)$")
_SCOPE = r"^[\x21\x23-\x5B\x5D-\x7E]+$"  # RFC 6749 3.3
_NOT_A_TOKENS_HEADER = ("x-amz", "x-b3-", "x-envoy-", "x-extproc-", "x-forwarded-", "x-request-id")
_NEVER_SIGNED = frozenset(
    {
        "x-amzn-bedrock-agentcore-runtime-user-id", "x-http-method", "x-http-method-override",
        "x-method-override",
        "authorization", "b3", "baggage", "connection", "content-length", "cookie", "expect", "forwarded",
        "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "user-agent", "via", "x-request-id", "traceparent", "tracestate", "x-amz-date",
        "x-amz-security-token", "x-amz-content-sha256", "x-amzn-trace-id", "host", "content-type",
    }
)  # fmt: skip


# Concurrent connections an account and region may hold:
# https://docs.aws.amazon.com/general/latest/gr/aws-mcp.html
_CONNECTION_QUOTAS = {"aws-mcp": 27}
_MANY_CONNECTIONS = 1024  # Envoy's default


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` are ``path: message`` lines."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an http(s) URL without query or fragment")
    # urlsplit drops some control characters silently, and leaves the port unchecked until it is asked for.
    if not _URL_CHARACTERS.fullmatch(value) or "@" in parts.netloc or parts.port == 0:
        raise ValueError("must be an http(s) URL without user name, spaces or quotes")
    return value


def _expression(compile_: Callable[[str], object]) -> Callable[[str], str]:
    def validate(value: str) -> str:
        try:
            compile_(value)
        except ExpressionError as error:
            raise ValueError(f"CEL: {error}") from None
        return value

    return validate


def grpc_address(value: str) -> str:
    """``HOST:PORT`` or ``unix:/path``; raises ``ValueError`` otherwise."""
    if value.startswith("unix:") and len(value) > len("unix:"):
        return value
    return host_port(value)


def host_port(value: str) -> str:
    """``HOST:PORT``; raises ``ValueError`` otherwise."""
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


def _token_header(value: str) -> str:
    name = value.lower()
    if not re.fullmatch(r"x-[a-z0-9-]{1,62}", name) or name.startswith(_NOT_A_TOKENS_HEADER):
        raise ValueError("must be a header name like x-id-token, and not one that Envoy or AWS use")
    return name


def _signable(value: str) -> str:
    name = value.lower()
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise ValueError("must be a header name")
    if name in _NEVER_SIGNED or name.startswith(("x-forwarded-", "x-envoy-", "x-b3-")):
        raise ValueError(f"{name} is signed already, or changes on the way and cannot be")
    return name


Url = Annotated[str, AfterValidator(_http_url)]
RoleArn = Annotated[str, AfterValidator(validate_role_arn)]
PolicyArn = Annotated[str, AfterValidator(validate_policy_arn)]
InlinePolicy = Annotated[str, AfterValidator(validate_policy)]
Matcher = Annotated[str, AfterValidator(_expression(cel_matcher))]
RuleName = Annotated[str, Field(min_length=1, max_length=128)]
SessionDuration = Annotated[int, Field(ge=900, le=43_200)]  # STS's limits


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Listen(_Model):
    """Where the server listens."""

    grpc: Annotated[str, AfterValidator(grpc_address)] = "127.0.0.1:50051"
    admin: Annotated[str, AfterValidator(host_port)] | None = "127.0.0.1:9464"
    insecure_plaintext: bool = False  # clear-text gRPC beyond this machine

    @model_validator(mode="after")
    def _plaintext_stays_local(self) -> "Listen":
        local = self.grpc.startswith("unix:") or is_loopback(f"http://{self.grpc}")
        if not (local or self.insecure_plaintext):
            raise ValueError(
                "grpc is not a loopback address: bearer tokens would cross the network in clear text; "
                "set insecure_plaintext: true only where the network itself is private"
            )
        return self


class Resource(_Model):
    """The protected resource as clients call it (RFC 9728)."""

    url: Url  # its characters are safe in quoted strings of headers (RFC 9110 5.6.4)
    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None


class Refresh(_Model):
    """When an issuer's keys are fetched again. Times in seconds."""

    interval: Annotated[int, Field(ge=10, le=86_400)] = 300  # where Cache-Control is silent
    shortest: Annotated[int, Field(ge=10, le=86_400)] = 60
    longest: Annotated[int, Field(ge=10, le=86_400)] = 3600
    cooldown: Annotated[int, Field(ge=1, le=3600)] = 30
    max_staleness: Annotated[int, Field(ge=60, le=604_800)] = 86_400

    @model_validator(mode="after")
    def _ordered(self) -> "Refresh":
        if not self.shortest <= self.interval <= self.longest <= self.max_staleness:
            raise ValueError("shortest, interval, longest and max_staleness must be in ascending order")
        return self


class Issuer(_Model):
    """One trusted OIDC provider."""

    issuer: Url
    audiences: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    algorithms: Annotated[list[str], Field(min_length=1)] = ["RS256", "ES256"]
    token_types: Annotated[list[str], Field(min_length=1)] = ["at+jwt", "application/at+jwt", "JWT", ""]
    leeway: Annotated[int, Field(ge=0, le=120)] = 30  # seconds
    jwks_uri: Url | None = None
    jwks_file: str | None = None
    allow_insecure_http: bool = False
    required_claims: dict[str, ClaimValue | Annotated[list[ClaimValue], Field(min_length=1)]] = {}
    required_scopes: list[Annotated[str, Field(pattern=_SCOPE)]] = []
    refresh: Refresh | None = None  # default: the one for all issuers
    verified_by: Literal["extproc", "envoy"] = "extproc"
    sts_token_header: Annotated[str, AfterValidator(_token_header)] | None = None
    sts_token_audiences: list[Annotated[str, Field(min_length=1)]] = []  # default: audiences

    @model_validator(mode="after")
    def _consistent(self) -> "Issuer":
        unsupported = sorted(set(self.algorithms) - SUPPORTED_ALGORITHMS)
        if unsupported:
            raise ValueError(f"algorithms: {unsupported} not supported; STS takes RS and ES only")
        refused = [name for name in self.token_types if _bare_type(name) in NEVER_ACCEPTED_TYPES]
        if refused:
            raise ValueError(f"token_types: {refused[0]} is never an access token")
        if self.sts_token_audiences and not self.sts_token_header:
            raise ValueError("sts_token_audiences without sts_token_header")
        if self.verified_by == "envoy" and not (self.jwks_uri or self.jwks_file):
            raise ValueError("verified_by: envoy needs jwks_uri or jwks_file: jwt_authn does no discovery")
        if self.verified_by == "envoy" and self.sts_token_header:
            raise ValueError("verified_by: envoy and sts_token_header exclude each other")
        if self.jwks_uri and self.jwks_file:
            raise ValueError("jwks_uri and jwks_file exclude each other")
        url = self.jwks_uri or self.issuer
        if (
            not self.jwks_file
            and url.startswith("http:")
            and not (is_loopback(url) or self.allow_insecure_http)
        ):
            raise ValueError("keys are fetched over HTTPS only; allow_insecure_http: true is for tests")
        return self


def _bare_type(token_type: str) -> str:
    return token_type.lower().removeprefix("application/")


class Target(_Model):
    """One place that requests are signed for."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")]
    host: Annotated[str, AfterValidator(_host)]
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    service: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    payload: Literal["signed", "unsigned"] | None = None  # default: what the service wants
    prefix: Annotated[str, AfterValidator(_prefix)] | None = None
    sign_headers: list[Annotated[str, AfterValidator(_signable)]] = []
    endpoint_url: Url | None = None  # where Envoy connects, if not https://HOST
    default_aws_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    max_connections: Annotated[int, Field(ge=1, le=100_000)] | None = None  # Envoy's, to this target

    @model_validator(mode="after")
    def _scope_is_known(self) -> "Target":
        if infer_scope(self.host) is None and not (self.region and self.service):
            raise ValueError("region and service cannot be told from this host: set both")
        if self.payload_mode == "unsigned" and self.default_aws_region is not None:
            raise ValueError("default_aws_region changes the body, so it needs payload: signed")
        return self

    @property
    def connection_limit(self) -> int:
        """Connections that Envoy may hold to the target, explicit or from the service's quota."""
        return self.max_connections or _CONNECTION_QUOTAS.get(self.scope.service, _MANY_CONNECTIONS)

    @property
    def payload_mode(self) -> Literal["signed", "unsigned"]:
        """The payload mode, explicit or what the service is known to want."""
        return self.payload or default_payload(self.scope.service)

    @property
    def scope(self) -> Scope:
        """Region and service, explicit or inferred."""
        inferred = infer_scope(self.host)
        return Scope(
            region=self.region or (inferred.region if inferred else ""),
            service=self.service or (inferred.service if inferred else ""),
        )


class Sts(_Model):
    """How STS is reached. Times in seconds."""

    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None  # default: the first target's
    endpoint_url: Url | None = None
    timeout: Annotated[float, Field(gt=0, le=60)] = 2.0
    deadline: Annotated[float, Field(gt=0, le=60)] = 5.0
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    max_waiting: PositiveInt = 256
    breaker_failures: PositiveInt = 5  # in a row
    breaker_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0  # until one exchange may probe


class Cache(_Model):
    """How credentials are kept. Times in seconds."""

    margin: Annotated[float, Field(ge=0, le=600)] = 60.0
    negative_ttl: Annotated[float, Field(gt=0, le=600)] = 30.0
    reuse: Literal["token", "identity"] = "token"


class Chain(_Model):
    """A second role, assumed with the credentials of the first.

    With ``account``, an expression, the role is in whichever of ``accounts`` that names.
    """

    role_arn: str
    account: Annotated[str, AfterValidator(_expression(account_expression))] | None = None
    accounts: list[Annotated[str, Field(pattern=r"^[0-9]{12}$")]] = []
    external_id: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_+=,.@:/-]*$", min_length=2, max_length=1224)] | None
    ) = None

    @model_validator(mode="after")
    def _roles_are_known(self) -> "Chain":
        if (self.account is None) != (not self.accounts):
            raise ValueError("account and accounts need each other")
        if self.account is not None and self.role_arn.count(_ACCOUNT) != 1:
            raise ValueError(f"role_arn: must have {_ACCOUNT} once, for account")
        for role_arn in self.role_arns.values():
            validate_role_arn(role_arn)
        return self

    @property
    def role_arns(self) -> dict[str, str]:
        """All roles that it may come to, by account; without ``account`` there is one."""
        if self.account is None:
            return {"": self.role_arn}
        return {account: self.role_arn.replace(_ACCOUNT, account) for account in self.accounts}


class _Restricting(_Model):
    """What mappings and ceilings share: a condition, an order, a session policy."""

    claim: Annotated[str, Field(min_length=1)] | None = None
    matcher: Matcher | None = None
    priority: int | None = None
    policy_arns: list[PolicyArn] = []
    policy: InlinePolicy | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if (self.claim is None) == (self.matcher is None):
            raise ValueError("exactly one of claim and matcher is required")
        session_policy(self.policy_arns, self.policy)
        return self

    @property
    def session_policy(self) -> SessionPolicy:
        """Both kinds of session policies together."""
        return session_policy(self.policy_arns, self.policy)


class RoleMapping(_Restricting):
    """One rule: which claims and requests get which role, or none."""

    name: RuleName | None = None
    effect: Literal["allow", "deny"] = "allow"
    role_arn: RoleArn | None = None
    session_duration: SessionDuration | None = None
    chain: Chain | None = None

    @model_validator(mode="after")
    def _fits_the_effect(self) -> "RoleMapping":
        if self.effect == "allow" and self.role_arn is None:
            raise ValueError("role_arn is required, unless effect is deny")
        given = self.role_arn or self.session_duration or self.chain or self.policy_arns or self.policy
        if self.effect == "deny" and given:
            raise ValueError("effect: deny takes no role_arn, chain, session_duration or session policy")
        return self


class Ceiling(_Restricting):
    """What an agent may do at most, whoever it acts for."""

    name: RuleName
    max_mapping: RuleName | None = None

    @model_validator(mode="after")
    def _one_effect(self) -> "Ceiling":
        if (self.max_mapping is not None) == bool(self.session_policy):
            raise ValueError("exactly one of max_mapping and a session policy is required")
        return self


class Limits(_Model):
    """Bounds on what is held in memory."""

    request_body_bytes: Annotated[int, Field(ge=1, le=64 * 1024 * 1024)] = 10 * 1024 * 1024
    mcp_body_bytes: Annotated[int, Field(ge=1, le=4 * 1024 * 1024)] = 256 * 1024
    sessions: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    token_bytes: Annotated[int, Field(ge=256, le=MAX_TOKEN_BYTES)] = MAX_TOKEN_BYTES
    claims_depth: Annotated[int, Field(ge=2, le=32)] = 16
    claims_values: Annotated[int, Field(ge=16, le=10_000)] = 2000


class Settings(_Model):
    """The whole configuration."""

    listen: Listen = Listen()
    resource: Resource
    allowed_origins: list[Annotated[str, AfterValidator(_origin)]] = []
    refresh: Refresh = Refresh()
    issuers: Annotated[list[Issuer], Field(min_length=1)]
    targets: Annotated[list[Target], Field(min_length=1)]
    sts: Sts = Sts()
    session_duration: SessionDuration = 3600
    session_name_claim: Annotated[str, Field(min_length=1)] = "sub"
    session_name: Annotated[str, AfterValidator(_expression(name_expression))] | None = None
    session_name_invalid: Literal["replace", "reject"] = "replace"
    role_claim: Annotated[str, Field(min_length=1)] = "groups"
    fallback_role_arn: RoleArn | None = None
    role_mappings: list[RoleMapping] = []
    ceilings: list[Ceiling] = []
    limits: Limits = Limits()
    cache: Cache = Cache()
    observe_upstream: bool = False
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 20.0

    @property
    def mapping_names(self) -> list[str]:
        """The mappings' names; one without a name is called by its place."""
        return [
            entry.name or f"role_mappings[{position}]" for position, entry in enumerate(self.role_mappings)
        ]

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        _unique("issuers", "issuer", [entry.issuer for entry in self.issuers])
        token_headers = {entry.sts_token_header for entry in self.issuers}
        if self.cache.reuse == "identity" and token_headers != {None}:
            # Identities are compared by the bearer token; session tags come from the other one.
            raise ValueError("cache.reuse: identity and sts_token_header exclude each other")
        for target in self.targets:
            if not token_headers.isdisjoint(target.sign_headers):
                raise ValueError(f"targets: {target.name}: sign_headers has a header that carries tokens")
        _unique("targets", "name", [entry.name for entry in self.targets])
        _unique("targets", "prefix", [entry.prefix for entry in self.targets if entry.prefix])
        plain = [entry.name for entry in self.targets if not entry.prefix]
        if len(plain) > 1:
            raise ValueError(f"targets: {', '.join(plain)}: only one target can do without a prefix")
        _unique("role_mappings", "name", self.mapping_names)
        _unique("ceilings", "name", [entry.name for entry in self.ceilings])
        roles = {entry.name for entry in self.role_mappings if entry.effect == "allow"}
        for position, ceiling in enumerate(self.ceilings):
            if ceiling.max_mapping is not None and ceiling.max_mapping not in roles:
                raise ValueError(
                    f"ceilings[{position}].max_mapping: no mapping with a role has the name "
                    f"{ceiling.max_mapping!r}"
                )
        for position, mapping in enumerate(self.role_mappings):
            duration = mapping.session_duration or self.session_duration
            if mapping.chain and duration > MAX_CHAINED_DURATION:
                raise ValueError(
                    f"role_mappings[{position}].chain: STS ends chained sessions after "
                    f"{MAX_CHAINED_DURATION} s, and session_duration is longer"
                )
        if self.fallback_role_arn is None and not any(entry.role_arn for entry in self.role_mappings):
            raise ValueError("role_mappings: no mapping and no fallback_role_arn: nobody would get a role")
        return self


def warnings(settings: Settings) -> list[str]:
    """What is valid and yet likely wrong, as ``path: message`` lines."""
    found = []
    for position, target in enumerate(settings.targets):
        if target.payload_mode == "unsigned" and target.scope.service == "lambda":
            # https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-lambda.html
            found.append(f"targets[{position}].payload: Lambda does not support unsigned payloads")
        if target.payload_mode == "signed" and target.scope.service == "vpc-lattice-svcs":
            found.append(f"targets[{position}].payload: VPC Lattice does not support signed payloads")
    return found


def _unique(section: str, key: str, values: list[str]) -> None:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{section}: {key} {repeated[0]!r} is used twice")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without duplicate keys, of which PyYAML would silently keep the last.

    Merge keys (``<<``) are refused: they hide duplicates, and nested ones grow without bound.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for entry in node.value if isinstance(node, yaml.MappingNode) else []:
            key_node = entry[0]
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise ConfigError([f"line {line}: merge keys (<<) are not supported"])
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError([f"line {line}: a key must be a plain text"])
            key = self.construct_object(key_node)
            if key in seen:
                raise ConfigError([f"line {line}: {key!r} is set twice"])
            seen.add(key)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: Any) -> None:
        """Do nothing: there are no merge keys. The node would be changed, and nodes are shared by aliases."""


def read_documents(text: str) -> list[Any]:
    """The YAML documents in a text; raises ``ConfigError``."""
    try:
        return list(yaml.load_all(text, _Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "document"
        raise ConfigError(
            [f"{where}: not valid YAML: {getattr(error, 'problem', None) or 'cannot be read'}"]
        ) from None
    except ConfigError:
        raise
    except Exception:  # noqa: BLE001 - PyYAML lets out what int(), datetime and dicts raise for odd values
        raise ConfigError(["document: not valid YAML: a value cannot be read"]) from None


def validate(document: Any) -> Settings:
    """A YAML document as settings; raises ``ConfigError``."""
    if not isinstance(document, dict):
        raise ConfigError(["document: must be a mapping"])
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigError([_problem(entry) for entry in error.errors()]) from None


def parse(text: str) -> Settings:
    """Parse and validate a configuration of one document.

    Raises:
        ConfigError: with one line a problem.
    """
    documents = read_documents(text)
    if len(documents) > 1:
        raise ConfigError(["document: one YAML document is expected"])
    return validate(documents[0] if documents else None)


def read_text(path: Path) -> str:
    """The text of a configuration file; raises ``ConfigError``."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: not UTF-8"]) from None


def load(path: Path) -> Settings:
    """Read a configuration file; raises ``ConfigError``."""
    return parse(read_text(path))


def _problem(error: Any) -> str:
    """One pydantic error as ``path: message``, with list positions in brackets."""
    path = ""
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "unknown key"
    # A rule about a whole section names its own path.
    return f"{path}: {message}" if path else message
