"""Admission: what is checked of a request itself, before its token is verified. No I/O; from any thread.

    form → origin → bearer token → target → path → what is withheld, what is signed → copies of the token;
    and, once a body is there, the MCP message in it, if rules read that

The server and ``extproc explain`` both use it, through the pipeline.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from extproc.authn.bearer import bearer_token, exchange_tokens
from extproc.authn.challenge import ProtectedResource
from extproc.authn.copies import TokenCopies, names_access_token
from extproc.authn.origin import Origins
from extproc.clock import Clock, system_clock
from extproc.errors import Denied, Reason
from extproc.header_names import ENVOY_PREFIX, FRAMING
from extproc.policy.inputs import NO_INPUTS, Inputs, request_variable
from extproc.policy.mcp import check_form, parse_message
from extproc.policy.rules import Policy
from extproc.policy.validity import clean
from extproc.request.header_limits import HeaderLimits
from extproc.sessions.session import token_digest
from extproc.signing.chunked import CONSUMED, Chunked, chunked_body
from extproc.signing.path import forwardable
from extproc.signing.targets import Target, TargetTable
from extproc.telemetry.record import RequestRecord
from extproc.values import ImmediateResponse, RequestHead, TokenDigest

METHOD = re.compile(r"[A-Z]{1,32}", re.ASCII)


@dataclass(slots=True)
class Admission:
    """A request worth deciding: well-formed, for a known target, with one bearer token."""

    head: RequestHead
    target: Target
    path: str
    query: str
    unverified_token: str = field(repr=False)
    unverified_exchange_tokens: Mapping[str, str] = field(repr=False)  # by header name
    digest: TokenDigest = field(repr=False)
    removed: tuple[str, ...]
    """Names of the client's headers that must not reach the upstream. They leave the request as soon
    as its body is asked for, and once more when the signature comes."""
    signed: tuple[tuple[str, str], ...] = field(repr=False)
    """The client's headers that the signature covers."""
    withheld: int
    """How many of the removed headers nothing replaces: they are counted."""
    chunked: Chunked | None  # the body is in aws-chunked coding, which is taken off
    decided_by_body: bool  # some rule reads the MCP message, and the target takes one
    room: int | None
    """Bytes that Envoy's limit leaves for the headers of the signature; None: enough for any."""
    needs_body: bool = field(init=False)
    """Whether the decision or the signature needs a body that is still to come."""
    lacks_length: bool = field(init=False)
    """Whether that body comes without a ``content-length``."""

    def __post_init__(self) -> None:
        self.needs_body = self.head.has_body and (
            self.target.payload == "signed" or self.decided_by_body or self.chunked is not None
        )
        self.lacks_length = self.needs_body and "content-length" not in self.head.names


class AdmissionControl:
    """Admits requests under one configuration.

    Args:
        exchange_headers: names of headers that may carry a token for STS.
        max_mcp_bytes: the largest body that is parsed where rules read the MCP message.
        header_limits: Envoy's.
        clock: decides which mappings count now.
    """

    def __init__(
        self,
        *,
        resource: ProtectedResource,
        origins: Origins,
        targets: TargetTable,
        policy: Policy,
        exchange_headers: frozenset[str],
        max_mcp_bytes: int,
        header_limits: HeaderLimits,
        clock: Clock = system_clock,
    ) -> None:
        self._clock = clock
        self._limits = header_limits
        self._resource = resource
        self._origins = origins
        self._targets = targets
        self._policy = policy
        self._exchange_headers = exchange_headers
        self._max_mcp_bytes = max_mcp_bytes

    def admit(self, head: RequestHead) -> Admission | ImmediateResponse:
        """Check the request's form, before any of its body is read.

        Return an ``ImmediateResponse`` for resource metadata and CORS preflights, which need no token.

        Raises:
            Denied: a page of a foreign origin sent it, it is malformed, has no single bearer
                token, no target, a header that cannot be signed, or a body in a form that rules cannot read.
        """
        reply = self._check_form(head)
        if reply is not None:
            return reply
        unverified_token = bearer_token(head)
        others = exchange_tokens(head, self._exchange_headers)
        copies = TokenCopies((unverified_token, *others.values()))
        if copies.any_in((head.path, head.authority)):
            raise Denied(Reason.TOKEN_IN_URL, "a copy of the token in the path, the query or the host")
        target = self._targets.select(head)
        path, query = forwardable(
            target.strip_prefix(self._resource.canonical(head.path)), slashes_matter=target.s3_style
        )
        chunked = chunked_body(head, target.aws_chunked)
        headers = target.client_headers.sort(head)
        signed, removed = headers.signed, headers.removed
        withheld = headers.withheld
        # What is left of content-encoding goes on when aws-chunked is taken off it.
        staying = FRAMING if chunked is None else FRAMING | CONSUMED
        leaking = _leaking(head, copies, gone={*removed, *self._exchange_headers}, staying=staying)
        if leaking:
            signed = tuple((name, value) for name, value in signed if name not in leaking)
            removed += leaking
            withheld += len(leaking)
        if chunked is not None:
            signed = tuple((name, value) for name, value in signed if name not in CONSUMED)
            removed += tuple(name for name in head.names if name in CONSUMED and name not in removed)
        tokens = sorted(self._exchange_headers.intersection(head.names))
        gone = {*removed, *tokens}
        self._limits.check_count(head, target, gone)
        reads_mcp = self._policy.reads_mcp and target.takes_mcp
        if reads_mcp and head.has_body:
            check_form(head)
        return Admission(
            head,
            target,
            path,
            query,
            unverified_token,
            others,
            _digest(unverified_token, others),
            (*removed, *tokens),
            signed,
            withheld,
            chunked,
            reads_mcp,
            self._limits.room(head, gone),
        )

    def read(self, admission: Admission, body: bytes, record: RequestRecord) -> Inputs:
        """Return the inputs that the rules read from the request; none, if they read claims only.

        Raises:
            Denied: ``BODY_TOO_LARGE`` or ``MCP_MALFORMED``.
        """
        if self._policy.reads_nothing:
            return NO_INPUTS
        inputs = self._read(admission, body, record)
        return inputs if self._policy.counts_always else self._with_conditions(inputs, admission)

    def _read(self, admission: Admission, body: bytes, record: RequestRecord) -> Inputs:
        request = {}
        if self._policy.reads_request:
            request = request_variable(admission.head, path=admission.path, target=admission.target.name)
        if not (admission.decided_by_body and body):
            return Inputs(request)
        if len(body) > self._max_mcp_bytes:
            raise Denied(Reason.BODY_TOO_LARGE, f"{len(body)} bytes, and rules read the MCP message")
        message = parse_message(body)
        record.mcp_method, record.mcp_name = message.method, message.name
        mcp = message.variable(admission.head, with_tool=self._policy.reads_tool)
        return Inputs(request, mcp, message)

    def _with_conditions(self, inputs: Inputs, admission: Admission) -> Inputs:
        """Add the time and the reason, by which some mappings count.

        Raises:
            Denied: ``HEADER_REFUSED`` for a reason with a copy of the token, since the reason is logged.
        """
        source, reason = self._policy.reason_source, None
        if source is not None:
            reason = source.find(admission.head, inputs.message.arguments if inputs.message else None)
            copies = TokenCopies((admission.unverified_token, *admission.unverified_exchange_tokens.values()))
            if reason is not None and copies.is_in(reason):
                raise Denied(Reason.HEADER_REFUSED, "the reason for break glass holds a copy of the token")
        return replace(inputs, now=self._clock(), reason=None if reason is None else clean(reason))

    def target(self, head: RequestHead) -> Target | None:
        """Return the target of a refused request, or None."""
        try:
            return self._targets.select(head)
        except Denied:
            return None

    def _check_form(self, head: RequestHead) -> ImmediateResponse | None:
        reply = self._resource.metadata_for(head.method, head.path, head.authority)  # public: before origins
        if reply is not None:
            return reply
        self._origins.check(head)
        if head.method == "CONNECT" or not head.path or head.values("upgrade"):
            raise Denied(Reason.UPGRADE_REFUSED)
        if "?" in head.path and names_access_token(head.path):
            raise Denied(Reason.TOKEN_IN_URL, "a query parameter access_token")
        if not METHOD.fullmatch(head.method) or head.method == "TRACE":
            # TRACE would show the client the signed headers (RFC 9110 9.3.8).
            raise Denied(Reason.REQUEST_AMBIGUOUS, "the method is not one to be signed")
        return self._origins.preflight(head)


def stays(name: str) -> bool:
    """Return whether a header stays: Envoy lets no filter remove some, and logs the request id."""
    return name in FRAMING or name.startswith(ENVOY_PREFIX) or name == "x-request-id"


def _leaking(
    head: RequestHead, copies: TokenCopies, *, gone: set[str], staying: frozenset[str]
) -> tuple[str, ...]:
    """Return the names of headers with a copy of a token, except those that are ``gone`` anyway.

    Raises:
        Denied: ``HEADER_REFUSED`` for a copy in a header that is ``staying``.
    """
    found = tuple(
        dict.fromkeys(name for name, value in head.headers if name not in gone and copies.is_in(value))
    )
    for name in found:
        if name in staying or name.startswith(ENVOY_PREFIX):
            raise Denied(
                Reason.HEADER_REFUSED,
                f"{name[:64]} holds a copy of the token",
                client_text=f"The header {name[:64]} holds a copy of the access token.",
            )
    return found


def _digest(unverified_token: str, unverified_exchange_tokens: Mapping[str, str]) -> TokenDigest:
    """Return the session's key: the digest of all its tokens, none of which contains a line feed."""
    if not unverified_exchange_tokens:
        return token_digest(unverified_token)
    others = (f"{name}:{token}" for name, token in sorted(unverified_exchange_tokens.items()))
    return token_digest("\n".join((unverified_token, *others)))
