"""The parts that ``request.way`` calls, one for each step, built for one configuration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from extproc.authn.challenge import ProtectedResource
from extproc.authn.origin import Origins
from extproc.authn.verifier import Verifier
from extproc.ext_proc import encoding
from extproc.fairness.stream_slots import StreamSlots
from extproc.fairness.token_buckets import TokenBuckets
from extproc.head_memory.memory import HeadMemory
from extproc.policy.rate_limits import RateLimit
from extproc.policy.rules import Policy
from extproc.request.admission import AdmissionControl
from extproc.request.authorization import Authorization
from extproc.request.denial_responses import DenialResponses
from extproc.request.header_limits import HeaderLimits
from extproc.request.rate_limited import RateLimitedAuthorization
from extproc.request.refusal import Refusals
from extproc.request.responses import Observe, ResponseWatch
from extproc.request.signature import Signature
from extproc.request.tools_lists import ListingAdmission, ListingWatch, ToolsLists
from extproc.request.waiting_denials import WaitingDenials
from extproc.sessions.credentials import CredentialStore
from extproc.sessions.decisions import Decisions, OnDecision
from extproc.sessions.revocation import DenyList
from extproc.sessions.table import SessionTable
from extproc.signing.signer import Signer
from extproc.signing.targets import TargetTable
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.observer import Observer
from extproc.telemetry.record import RequestRecord
from extproc.values import VOLATILE_HEADERS


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """The parts, in the order in which a request meets them.

    Attributes:
        heads: admissions of heads that came before.
        slots: open requests by target. They outlive every configuration.
        observer: receives each decision before the response is sent.
        tools_lists: filters lists of tools; None if no target wants that.
        metadata: encodes what Envoy's access log is to say of a decision.
        reads_jwt_payload: whether ``RequestHead.jwt_payload`` is decoded, which takes time.
    """

    heads: HeadMemory
    admission: AdmissionControl
    authorization: Authorization
    slots: StreamSlots
    signature: Signature
    responses: ResponseWatch
    refusals: Refusals
    observer: Observer
    metadata: Callable[[RequestRecord], bytes]
    reads_jwt_payload: bool
    tools_lists: ToolsLists | None = None

    def close(self) -> None:
        """End the threads of this configuration."""
        self.authorization.close()
        if self.tools_lists is not None:
            self.tools_lists.close()


@dataclass(frozen=True, slots=True, eq=False)
class Lasting:
    """What outlives every configuration, and pipelines share."""

    sessions: SessionTable
    credentials: CredentialStore
    deny_list: DenyList
    signer: Signer
    slots: StreamSlots
    observer: Observer
    metrics: Metrics
    on_new_decision: OnDecision | None = None
    buckets: TokenBuckets = field(default_factory=TokenBuckets)


def build(
    lasting: Lasting,
    *,
    resource: ProtectedResource,
    origins: Origins,
    targets: TargetTable,
    verifier: Verifier,
    policy: Policy,
    deadline: float,
    max_body_bytes: int,
    observe_upstream: Observe = "first",
    max_mcp_bytes: int = 256 * 1024,
    header_limits: HeaderLimits | None = None,
    pause: float = 1.0,
    denials: DenialResponses | None = None,
    remember_heads: bool = True,
    check_one_head_in: int = 1000,
    rate_limits: Sequence[RateLimit] = (),
    filters_lists: bool = True,
    with_metadata: bool = True,
) -> Pipeline:
    """Build the parts for one configuration; ``filters_lists``: responses come, so lists can be filtered."""
    metrics = lasting.metrics
    # Rules that do not read messages decide about all tools alike.
    filters = filters_lists and policy.reads_mcp and targets.filter_tools_list
    admission = (ListingAdmission if filters else AdmissionControl)(
        resource=resource,
        origins=origins,
        targets=targets,
        policy=policy,
        exchange_headers=verifier.exchange_headers,
        max_mcp_bytes=max_mcp_bytes,
        header_limits=header_limits or HeaderLimits(),
        clock=lasting.sessions.clock,
    )
    made: Callable[..., Authorization] = Authorization
    if rate_limits:
        made = partial(
            RateLimitedAuthorization,
            policy=policy,
            limits=rate_limits,
            buckets=lasting.buckets,
            on_refused=metrics.rate_limited,
        )
    authorization = made(
        verifier=verifier,
        deny_list=lasting.deny_list,
        sessions=lasting.sessions,
        decisions=Decisions(
            policy,
            on_cost=metrics.evaluated,
            on_break_glass=metrics.broke_glass,
            on_decision=lasting.on_new_decision,
        ),
        credentials=lasting.credentials,
        deadline=deadline,
        pause=pause,
    )
    return Pipeline(
        heads=HeadMemory(
            # Nothing may read the values in which heads with one key differ.
            enabled=remember_heads
            and not (
                policy.reads_request
                or targets.sign_any(VOLATILE_HEADERS)
                or verifier.exchange_headers.intersection(VOLATILE_HEADERS)
            ),
            not_kept=frozenset({*VOLATILE_HEADERS, *verifier.exchange_headers, "authorization"}),
            check_one_in=check_one_head_in,
            on_check=metrics.head_checked,
        ),
        admission=admission,
        authorization=authorization,
        slots=lasting.slots,
        signature=Signature(
            signer=lasting.signer, deny_list=lasting.deny_list, max_body_bytes=max_body_bytes
        ),
        responses=(ListingWatch if filters else ResponseWatch)(
            observe_upstream, credentials=lasting.credentials, on_response=metrics.answered
        ),
        refusals=Refusals(
            denials=denials or DenialResponses(resource=resource, origins=origins),
            admission=admission,
            authorization=authorization,
            observer=lasting.observer,
            waiting=WaitingDenials(max_bytes=max_mcp_bytes),
        ),
        observer=lasting.observer,
        metadata=encoding.encode_metadata if with_metadata else encoding.no_metadata,
        reads_jwt_payload=verifier.reads_jwt_payload,
        tools_lists=ToolsLists(policy) if filters else None,
    )
