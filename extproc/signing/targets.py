"""Targets, the destinations of signed requests, and the selection of a request's target."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from extproc.errors import Denied, Reason
from extproc.signing.headers import HeaderPolicy, Treatment
from extproc.signing.profiles import AwsChunked, profile_of
from extproc.signing.sigv4 import Scope
from extproc.values import RequestHead

PayloadMode = Literal["signed", "unsigned"]

_S3_STYLE = frozenset({"s3", "s3express", "s3-outposts", "s3-object-lambda"})


@dataclass(frozen=True, slots=True)
class Target:
    """A destination of signed requests.

    Attributes:
        host: the authority that is signed. Envoy's route must set the same.
        scope: region and service of signatures.
        payload: whether the payload is hashed.
        prefix: removed from the path before signing and forwarding.
        sign_headers: headers to sign in addition: lower-case names, or patterns like ``x-amz-meta-*``.
        withhold_headers: headers to drop, in the same form.
        default_aws_region: added to JSON-RPC bodies without a region (``signing.payload``).
        aws_chunked: whether bodies in that coding are decoded or refused.
        mcp: whether bodies are MCP messages that rules may read; None: yes, except for S3.
        filter_tools_list: whether answers to ``tools/list`` are filtered.
        takes_mcp: the effective value of ``mcp``.
        s3_style: whether the path is signed as sent, neither normalised nor encoded again.
        sends_payload_hash: whether ``x-amz-content-sha256`` is part of the request.
        client_headers: the treatment of clients' headers.
    """

    name: str
    host: str
    scope: Scope
    payload: PayloadMode = "signed"
    prefix: str | None = None
    sign_headers: frozenset[str] = frozenset()
    withhold_headers: frozenset[str] = frozenset()
    default_aws_region: str | None = None
    aws_chunked: AwsChunked = "decode"
    mcp: bool | None = None
    filter_tools_list: bool = False
    takes_mcp: bool = field(init=False)
    s3_style: bool = field(init=False)
    sends_payload_hash: bool = field(init=False)
    client_headers: HeaderPolicy = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        service = self.scope.service
        object.__setattr__(self, "s3_style", service in _S3_STYLE)
        object.__setattr__(self, "takes_mcp", not self.s3_style if self.mcp is None else self.mcp)
        object.__setattr__(
            self,
            "sends_payload_hash",
            self.payload == "unsigned" or self.s3_style or service == "vpc-lattice-svcs",
        )
        profile = profile_of(service)
        policy = HeaderPolicy(
            sign=self.sign_headers,
            withhold=self.withhold_headers | (frozenset(profile.dropped) - self.sign_headers),
            known=profile.known,
            refuse_unknown=profile.strict,
        )
        object.__setattr__(self, "client_headers", policy)

    def owns(self, path: str) -> bool:
        """Return whether the path begins with the prefix, up to a segment boundary."""
        if self.prefix is None:
            return False
        rest = path.removeprefix(self.prefix)
        return len(rest) < len(path) and rest[:1] in ("", "/", "?")

    def strip_prefix(self, path: str) -> str:
        """Return the path without the prefix."""
        if not self.owns(path):
            return path
        rest = path[len(self.prefix or "") :]
        return rest if rest.startswith("/") else "/" + rest


class TargetTable:
    """The targets of one configuration."""

    def __init__(self, targets: list[Target]) -> None:
        if not targets:
            raise ValueError("at least one target is required")
        self._by_name = {target.name: target for target in targets}
        # The longest prefix is the most specific one.
        self._prefixed = sorted(
            (target for target in targets if target.prefix), key=lambda t: len(t.prefix or ""), reverse=True
        )
        self._plain = [target for target in targets if not target.prefix]

    @property
    def filter_tools_list(self) -> bool:
        """Return whether any target's lists of tools are filtered."""
        return any(target.filter_tools_list for target in self._by_name.values())

    def sign_any(self, names: Iterable[str]) -> bool:
        """Return whether any target signs one of these headers of clients."""
        policies = [target.client_headers for target in self._by_name.values()]
        return any(policy.treatment(name) is Treatment.SIGN for policy in policies for name in names)

    def select(self, head: RequestHead) -> Target:
        """Return the target of a request: by the route's name for it, by prefix, the only one, or by host.

        Raises:
            Denied: ``TARGET_UNKNOWN``.
        """
        if head.target_name is not None:
            named = self._by_name.get(head.target_name)
            if named is None:
                raise Denied(Reason.TARGET_UNKNOWN, "the route names a target that is not configured")
            return named
        for target in self._prefixed:
            if target.owns(head.path):
                return target
        if len(self._plain) == 1:
            return self._plain[0]
        for target in self._plain:
            if target.host == head.authority.lower():
                return target
        raise Denied(Reason.TARGET_UNKNOWN, "no prefix or host fits, and there are several targets")
