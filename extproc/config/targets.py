"""``targets``: the places that requests are signed for."""

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
_LONGEST_WAIT = 10.0  # seconds; as long as a decision holds for a body that is still to come


class TargetSettings(Section):
    """One place that requests are signed for."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")]
    host: Host
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    service: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    payload: Literal["signed", "unsigned"] | None = None  # default: what the service wants
    prefix: Prefix | None = None
    sign_headers: list[SignableHeader] = []
    withhold_headers: list[WithholdableHeader] = []
    aws_chunked: AwsChunked | None = None  # default: what the service wants
    mcp: bool | None = None  # bodies are MCP messages, where rules read mcp; default: but for S3
    endpoint_url: Url | None = None  # where Envoy connects, if not https://HOST
    insecure_plaintext: bool = False  # an endpoint_url of http:// on another machine
    default_aws_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")] | None = None
    max_connections: Annotated[int, Field(ge=1, le=100_000)] | None = None  # default: the service's quota
    max_connections_per_subject: Annotated[int, Field(ge=1, le=100_000)] | None = (
        None  # default: half of them
    )
    max_wait: Annotated[float, Field(ge=0, le=_LONGEST_WAIT)] = 5.0  # seconds, for a free connection
    max_waiting: Annotated[int, Field(ge=1, le=100_000)] | None = None  # default: four times as many
    protocol: Literal["http1", "http2", "auto"] = "http1"  # that Envoy speaks to the target

    @model_validator(mode="after")
    def _scope_is_known(self) -> "TargetSettings":
        if infer_scope(self.host) is None and not (self.region and self.service):
            raise ValueError("region and service cannot be told from this host: set both")
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
            raise ValueError("protocol: auto is agreed upon in TLS, and endpoint_url is http:")
        both = sorted(set(self.sign_headers) & set(self.withhold_headers))
        if both:
            raise ValueError(f"{both[0]} is both in sign_headers and in withhold_headers")
        return self

    @property
    def connection_limit(self) -> int:
        """Requests open to the target at a time, explicit or from the service's quota of connections."""
        return self.max_connections or _CONNECTION_QUOTAS.get(self.scope.service, _MANY_CONNECTIONS)

    @property
    def counts_streams(self) -> bool:
        """Whether open requests are counted: connections are scarce, or somebody set a limit to them."""
        return (
            self.max_connections is not None
            or self.max_connections_per_subject is not None
            or self.scope.service in _CONNECTION_QUOTAS
        )

    @property
    def limit_of_one_subject(self) -> int:
        """Open requests that one subject may have, explicit or half of all, rounded up."""
        return self.max_connections_per_subject or (self.connection_limit + 1) // 2

    @property
    def waiting_limit(self) -> int:
        """Requests that may wait for a connection, explicit or four for each."""
        return self.max_waiting or 4 * self.connection_limit

    @property
    def payload_mode(self) -> Literal["signed", "unsigned"]:
        """The payload mode, explicit or what the service is known to want."""
        return self.payload or default_payload(self.scope.service)

    @property
    def aws_chunked_mode(self) -> AwsChunked:
        """What is done with ``aws-chunked`` bodies, explicit or by the service's profile."""
        return self.aws_chunked or profile_of(self.scope.service).aws_chunked

    @property
    def scope(self) -> Scope:
        """Region and service, explicit or inferred."""
        inferred = infer_scope(self.host)
        return Scope(
            region=self.region or (inferred.region if inferred else ""),
            service=self.service or (inferred.service if inferred else ""),
        )
