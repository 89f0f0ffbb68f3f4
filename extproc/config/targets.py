"""``targets``: the destinations of signed requests."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from extproc.config.fields import Host, Prefix, Section, SignableHeader, Url, WithholdableHeader, is_plaintext
from extproc.signing.hosts import default_payload, infer_scope
from extproc.signing.profiles import AwsChunked, profile_of
from extproc.signing.sigv4 import Scope

# Concurrent connections an account and region may hold:
# https://docs.aws.amazon.com/general/latest/gr/aws-mcp.html
_CONNECTION_QUOTAS = {"aws-mcp": 27}
_MANY_CONNECTIONS = 1024  # Envoy's default
_LONGEST_WAIT = 10.0  # seconds; a decision is valid for as long while its body is still to come


class TargetSettings(Section):
    """One destination of signed requests."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")]
    host: Host
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    service: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    payload: Literal["signed", "unsigned"] | None = None  # default: what the service requires
    prefix: Prefix | None = None
    sign_headers: list[SignableHeader] = []
    withhold_headers: list[WithholdableHeader] = []
    aws_chunked: AwsChunked | None = None  # default: what the service requires
    mcp: bool | None = None  # whether bodies are MCP messages that rules may read; default: except for S3
    filter_tools_list: bool = False  # leave out tools that the caller may not call
    endpoint_url: Url | None = None  # where Envoy connects; default: https://HOST
    insecure_plaintext: bool = False  # for an endpoint_url of http:// on another machine
    default_aws_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    max_connections: Annotated[int, Field(ge=1, le=100_000)] | None = None  # default: the service's quota
    max_connections_per_subject: Annotated[int, Field(ge=1, le=100_000)] | None = (
        None  # default: half of them
    )
    max_wait: Annotated[float, Field(ge=0, le=_LONGEST_WAIT)] = 5.0  # seconds, for a free connection
    max_waiting: Annotated[int, Field(ge=1, le=100_000)] | None = None  # default: four times as many
    protocol: Literal["http1", "http2", "auto"] = "http1"  # between Envoy and the target

    @model_validator(mode="after")
    def _scope_is_known(self) -> "TargetSettings":
        if infer_scope(self.host) is None and not (self.region and self.service):
            raise ValueError("region and service cannot be inferred from this host: set both")
        if self.payload_mode == "unsigned" and self.default_aws_region is not None:
            raise ValueError("default_aws_region changes the body, so it needs payload: signed")
        if is_plaintext(self.endpoint_url) and not self.insecure_plaintext:
            raise ValueError(
                "endpoint_url: signed requests and session tokens would cross the network in clear text; use "
                "https://, or insecure_plaintext: true only where the network itself is private"
            )
        if (self.max_connections_per_subject or 1) > self.connection_limit:
            raise ValueError(
                f"max_connections_per_subject is more than the {self.connection_limit} of max_connections"
            )
        if self.protocol == "auto" and (self.endpoint_url or "https:").startswith("http:"):
            raise ValueError("protocol: auto is negotiated in TLS, and endpoint_url is http:")
        both = sorted(set(self.sign_headers) & set(self.withhold_headers))
        if both:
            raise ValueError(f"{both[0]} is both in sign_headers and in withhold_headers")
        return self

    @property
    def connection_limit(self) -> int:
        """Return the maximum number of open requests: as configured, or the service's quota."""
        return self.max_connections or _CONNECTION_QUOTAS.get(self.scope.service, _MANY_CONNECTIONS)

    @property
    def counts_streams(self) -> bool:
        """Return whether open requests are counted: with a configured limit, or a quota of the service."""
        return (
            self.max_connections is not None
            or self.max_connections_per_subject is not None
            or self.scope.service in _CONNECTION_QUOTAS
        )

    @property
    def limit_of_one_subject(self) -> int:
        """Return the maximum number of open requests of one subject: as configured, or half of all."""
        return self.max_connections_per_subject or (self.connection_limit + 1) // 2

    @property
    def waiting_limit(self) -> int:
        """Return how many requests may wait for a connection: as configured, or four for each connection."""
        return self.max_waiting or 4 * self.connection_limit

    @property
    def payload_mode(self) -> Literal["signed", "unsigned"]:
        """Return the payload mode: as configured, or what the service requires."""
        return self.payload or default_payload(self.scope.service)

    @property
    def aws_chunked_mode(self) -> AwsChunked:
        """Return the treatment of ``aws-chunked`` bodies: as configured, or by the service's profile."""
        return self.aws_chunked or profile_of(self.scope.service).aws_chunked

    @property
    def scope(self) -> Scope:
        """Return region and service: as configured, or inferred from the host."""
        inferred = infer_scope(self.host)
        return Scope(
            region=self.region or (inferred.region if inferred else ""),
            service=self.service or (inferred.service if inferred else ""),
        )
