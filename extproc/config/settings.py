"""The whole configuration: its sections, and the constraints between them."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from extproc.authn.keys import RefreshPolicy
from extproc.authn.token import MAX_TOKEN_BYTES
from extproc.config.audit import Audit, Tracing
from extproc.config.console import Console
from extproc.config.credentials import Cache, StsSettings
from extproc.config.fields import (
    Message,
    Origin,
    RoleArn,
    ScopeName,
    Section,
    SessionDuration,
    expression,
    origin_of,
    repeated,
)
from extproc.config.issuers import Issuer, Refresh, Resource
from extproc.config.listen import Listen
from extproc.config.rate_limits import RateLimitSettings
from extproc.config.roles import BreakGlass, CeilingSettings, RoleMapping, RuleSettings
from extproc.config.targets import TargetSettings
from extproc.header_names import matches
from extproc.policy.arn import is_aws_endpoint, validate_role_arn
from extproc.policy.cel import DEFAULT_COST_LIMIT
from extproc.policy.claims_schema import Schema, parse_schema
from extproc.policy.matchers import name_expression
from extproc.request.responses import Observe
from extproc.scopes import ScopeHierarchy
from extproc.spelling import did_you_mean
from extproc.values import MAX_CHAINED_DURATION


def _claims(declared: dict[str, Any]) -> dict[str, Any]:
    parse_schema(declared)
    return declared


Includes = Annotated[list[ScopeName], Field(min_length=1)]
"""The scopes that a scope includes."""


def _acyclic(scopes: dict[str, list[str]]) -> dict[str, list[str]]:
    ScopeHierarchy(scopes)  # raises an error if a scope includes itself
    return scopes


def _observe(value: object) -> object:
    return {True: "every", False: "never"}.get(value, value) if isinstance(value, bool) else value


class LimitSettings(Section):
    """Limits on memory and on the size of requests."""

    request_body_bytes: Annotated[int, Field(ge=1, le=64 * 1024 * 1024)] = 10 * 1024 * 1024
    request_headers: Annotated[int, Field(ge=20, le=10_000)] = 100  # as Envoy's max_headers_count
    request_headers_kib: Annotated[int, Field(ge=8, le=8192)] = 60  # as its max_request_headers_kb
    mcp_body_bytes: Annotated[int, Field(ge=1, le=4 * 1024 * 1024)] = 256 * 1024
    sessions: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    token_bytes: Annotated[int, Field(ge=256, le=MAX_TOKEN_BYTES)] = MAX_TOKEN_BYTES
    claims_depth: Annotated[int, Field(ge=2, le=32)] = 16
    claims_values: Annotated[int, Field(ge=16, le=10_000)] = 2000
    policy_cost: Annotated[int, Field(ge=1000, le=100_000_000)] = DEFAULT_COST_LIMIT


class HeadMemorySettings(Section):
    """Whether repeated request heads are parsed only once."""

    enabled: bool = True
    check_one_in: Annotated[int, Field(ge=1, le=1_000_000)] = 1000  # known heads


class Mcp(Section):
    """Responses to MCP clients.

    ``denied_status``: 200 for denials by policy, AWS or a limit; None for the statuses of HTTP and MCP.
    """

    denied_status: Literal[200] | None = None


class Settings(Section):
    """The whole configuration."""

    listen: Listen = Listen()
    console: Console = Console()
    resource: Resource
    allowed_origins: list[Origin] = []
    refresh: Refresh = Refresh()
    issuers: Annotated[list[Issuer], Field(min_length=1)]
    targets: Annotated[list[TargetSettings], Field(min_length=1)]
    sts: StsSettings = StsSettings()
    session_duration: SessionDuration = 3600
    session_name_claim: Annotated[str, Field(min_length=1)] = "sub"
    session_name: Annotated[str, AfterValidator(expression(name_expression))] | None = None
    session_name_invalid: Literal["replace", "reject"] = "replace"
    role_claim: Annotated[str, Field(min_length=1)] = "groups"
    fallback_role_arn: RoleArn | None = None
    scopes: Annotated[dict[ScopeName, Includes], AfterValidator(_acyclic)] = {}
    role_mappings: list[RoleMapping] = []
    break_glass: BreakGlass = BreakGlass()
    ceilings: list[CeilingSettings] = []
    rate_limits: list[RateLimitSettings] = []
    claims: Annotated[dict[str, Any], AfterValidator(_claims)] | None = None
    shadow: Annotated[str, Field(min_length=1)] | None = None  # a file with the candidate configuration
    support: Message | None = None  # completes "ask ..." in denials
    mcp: Mcp = Mcp()
    limits: LimitSettings = LimitSettings()
    cache: Cache = Cache()
    head_memory: HeadMemorySettings = HeadMemorySettings()
    observe_upstream: Annotated[Observe, BeforeValidator(_observe)] = "first"
    dynamic_metadata: bool = True
    audit: Audit = Audit()
    tracing: Tracing = Tracing()
    drain_delay_seconds: Annotated[float, Field(ge=0, le=600)] = 3.0  # before Envoy has noticed
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 20.0  # for requests in flight

    @property
    def reads_responses(self) -> bool:
        """Return whether extproc reads responses of upstreams."""
        return self.observe_upstream != "never" or any(target.filter_tools_list for target in self.targets)

    @property
    def break_glass_mappings(self) -> list[str]:
        """Return the names of the mappings that need a reason."""
        named = zip(self.mapping_names, self.role_mappings, strict=True)
        return [name for name, mapping in named if mapping.break_glass]

    @property
    def mapping_names(self) -> list[str]:
        """Return the names of the mappings; one without a name has its path as its name."""
        return [
            entry.name or f"role_mappings[{position}]" for position, entry in enumerate(self.role_mappings)
        ]

    @property
    def origins(self) -> list[str]:
        """Return the web origins whose pages may send requests: those of the resource and listed ones."""
        own = [origin_of(url) for url in (self.resource.url, *self.resource.aliases)]
        return list(dict.fromkeys([*own, *self.allowed_origins]))

    @property
    def claims_schema(self) -> Schema | None:
        """Return ``claims`` as a schema; None if they are not declared."""
        return None if self.claims is None else parse_schema(self.claims)

    @property
    def sts_region(self) -> str:
        """Return the region of the STS endpoint."""
        return self.sts.region or self.targets[0].scope.region

    @property
    def session_deadline(self) -> float:
        """Seconds within which a session has its issuer's keys and its credentials, or is refused."""
        exchanges = 2 if any(entry.token_exchange for entry in self.issuers) else 1
        return exchanges * self.sts.deadline + RefreshPolicy().wait

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        _unique("issuers", "issuer", [entry.issuer for entry in self.issuers])
        token_headers = {entry.sts_token_header for entry in self.issuers if entry.sts_token_header}
        self._check_reuse()
        for target in self.targets:
            if any(matches(pattern, header) for pattern in target.sign_headers for header in token_headers):
                raise ValueError(f"targets: {target.name}: sign_headers has a header that carries tokens")
        _unique("targets", "name", [entry.name for entry in self.targets])
        _unique("targets", "prefix", [entry.prefix for entry in self.targets if entry.prefix])
        plain = [entry.name for entry in self.targets if not entry.prefix]
        if len(plain) > 1:
            raise ValueError(f"targets: {', '.join(plain)}: only one target can do without a prefix")
        _unique("role_mappings", "name", self.mapping_names)
        _unique("ceilings", "name", [entry.name for entry in self.ceilings])
        self._check_role_arns()
        self._check_issuers()
        self._check_rate_limits()
        self._check_console()
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
            raise ValueError("role_mappings: no mapping and no fallback_role_arn: no request gets a role")
        return self

    def _check_reuse(self) -> None:
        """Refuse reuse by identity where STS gets other tokens: identities are compared by bearer tokens."""
        if self.cache.reuse == "identity":
            for entry in self.issuers:
                for name in ("sts_token_header", "token_exchange"):
                    if getattr(entry, name):
                        raise ValueError(f"cache.reuse: identity and {name} exclude each other")

    def _check_role_arns(self) -> None:
        """Refuse role ARNs of another form than AWS's, unless another STS is configured."""
        if self.sts.endpoint_url is not None and not is_aws_endpoint(self.sts.endpoint_url):
            return
        for path, role_arn in self.role_arns():
            try:
                validate_role_arn(role_arn)
            except ValueError as error:
                raise ValueError(f"{path}: {error}; another form needs sts.endpoint_url") from None

    def rules(self) -> Iterator[tuple[str, RuleSettings]]:
        """Yield every mapping and every ceiling with its path."""
        for section, entries in (("role_mappings", self.role_mappings), ("ceilings", self.ceilings)):
            yield from ((f"{section}[{position}]", entry) for position, entry in enumerate(entries))

    def role_arns(self) -> Iterator[tuple[str, str]]:
        """Yield every role with the path of its setting."""
        if self.fallback_role_arn is not None:
            yield "fallback_role_arn", self.fallback_role_arn
        for position, mapping in enumerate(self.role_mappings):
            if mapping.role_arn is not None:
                yield f"role_mappings[{position}].role_arn", mapping.role_arn
            for role_arn in mapping.chain.role_arns.values() if mapping.chain else ():
                yield f"role_mappings[{position}].chain.role_arn", role_arn

    def _check_rate_limits(self) -> None:
        _unique("rate_limits", "name", [limit.name for limit in self.rate_limits if limit.name is not None])
        known = [target.name for target in self.targets]
        for position, limit in enumerate(self.rate_limits):
            for name in limit.targets:
                if name not in known:
                    hint = did_you_mean(name, known)
                    raise ValueError(f"rate_limits[{position}].targets: {name!r} is not one of targets{hint}")

    def _check_issuers(self) -> None:
        known = [entry.issuer for entry in self.issuers]
        self._check_token_issuers(known)
        for path, rule in self.rules():
            _unique(f"{path}.issuers", "issuer", rule.issuers or [])
            for issuer in rule.issuers or []:
                if issuer not in known:
                    hint = did_you_mean(issuer, known)
                    raise ValueError(f"{path}.issuers: {issuer!r} is not one of issuers{hint}")

    def _check_console(self) -> None:
        if self.listen.console is not None:
            self.console.check_address(self.listen.console)
        if self.console.oidc is not None:
            self.console_issuer  # noqa: B018 - raises an error if there is none

    @property
    def console_issuer(self) -> Issuer:
        """Return the issuer at which people log in to the console; for settings with ``console.oidc``.

        Raises:
            ValueError: it is none of issuers, or there are several.
        """
        wanted = self.console.oidc.issuer if self.console.oidc else None
        if wanted is None and len(self.issuers) > 1:
            raise ValueError("console.oidc: there are several issuers; set issuer")
        for entry in self.issuers:
            if wanted in (None, entry.issuer):
                return entry
        hint = did_you_mean(str(wanted), [entry.issuer for entry in self.issuers])
        raise ValueError(f"console.oidc.issuer: {wanted!r} is not one of issuers{hint}")

    def _check_token_issuers(self, known: list[str]) -> None:
        """Refuse token exchanges whose tokens could not be verified here."""
        without_keys = [entry.issuer for entry in self.issuers if entry.verified_by == "envoy"]
        for position, entry in enumerate(self.issuers):
            if entry.token_exchange is None:
                continue
            path, issuer = f"issuers[{position}].token_exchange", entry.token_exchange.token_issuer
            if issuer is not None and issuer not in known:
                raise ValueError(
                    f"{path}.token_issuer: {issuer!r} is not one of issuers{did_you_mean(issuer, known)}"
                )
            if (issuer or entry.issuer) in without_keys:
                raise ValueError(
                    f"{path}: the exchanged token is verified here, and Envoy has its keys; set "
                    "token_issuer to an issuer with verified_by: extproc"
                )


def _unique(section: str, key: str, values: list[str]) -> None:
    for value in repeated(values):
        raise ValueError(f"{section}: {key} {value!r} is used twice")
