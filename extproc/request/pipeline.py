"""The parts that ``request.way`` calls, one for each step, built for one configuration."""

from collections.abc import Callable
from dataclasses import dataclass

from extproc.authn.challenge import ProtectedResource
from extproc.authn.origin import Origins
from extproc.authn.verifier import TokenVerifier
from extproc.fairness.stream_slots import StreamSlots
from extproc.head_memory.memory import HeadMemory
from extproc.policy.rules import Policy
from extproc.request.admission import AdmissionControl
from extproc.request.authorization import Authorization
from extproc.request.denial_responses import DenialResponses
from extproc.request.header_limits import HeaderLimits
from extproc.request.refusal import Refusals
from extproc.request.responses import Observe, ResponseWatch
from extproc.request.signature import Signature
from extproc.request.waiting_denials import WaitingDenials
from extproc.sessions.credentials import CredentialSource
from extproc.sessions.decisions import Decisions
from extproc.sessions.revocation import DenyList
from extproc.sessions.table import SessionTable
from extproc.signing.signer import Signer
from extproc.signing.targets import TargetTable
from extproc.telemetry.observer import DecisionObserver
from extproc.values import VOLATILE_HEADERS


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """The parts, in the order in which a request meets them.

    Attributes:
        heads: admissions of heads that came before.
        slots: open requests by target. They outlive every configuration.
        observer: receives each decision before the response is sent.
        reads_jwt_payload: whether ``RequestHead.jwt_payload`` is decoded, which takes time.
    """

    heads: HeadMemory
    admission: AdmissionControl
    authorization: Authorization
    slots: StreamSlots
    signature: Signature
    responses: ResponseWatch
    refusals: Refusals
    observer: DecisionObserver
    reads_jwt_payload: bool


def build(
    *,
    resource: ProtectedResource,
    origins: Origins,
    targets: TargetTable,
    verifier: TokenVerifier,
    policy: Policy,
    sessions: SessionTable,
    credentials: CredentialSource,
    deny_list: DenyList,
    deadline: float,
    signer: Signer,
    observer: DecisionObserver,
    max_body_bytes: int,
    slots: StreamSlots,
    observe_upstream: Observe = "first",
    max_mcp_bytes: int = 256 * 1024,
    header_limits: HeaderLimits | None = None,
    pause: float = 1.0,
    denials: DenialResponses | None = None,
    remember_heads: bool = True,
    check_one_head_in: int = 1000,
    on_policy_cost: Callable[[int], None] = lambda _cost: None,
    on_head_check: Callable[[bool], None] = lambda _same: None,
    on_response: Callable[[str, str], None] = lambda _target, _refused: None,
) -> Pipeline:
    """Build the parts for one configuration."""
    admission = AdmissionControl(
        resource=resource,
        origins=origins,
        targets=targets,
        policy=policy,
        exchange_headers=verifier.exchange_headers,
        max_mcp_bytes=max_mcp_bytes,
        header_limits=header_limits or HeaderLimits(),
    )
    authorization = Authorization(
        verifier=verifier,
        deny_list=deny_list,
        sessions=sessions,
        decisions=Decisions(policy, on_cost=on_policy_cost),
        credentials=credentials,
        clock=sessions.clock,
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
            on_check=on_head_check,
        ),
        admission=admission,
        authorization=authorization,
        slots=slots,
        signature=Signature(signer=signer, deny_list=deny_list, max_body_bytes=max_body_bytes),
        responses=ResponseWatch(observe_upstream, credentials=credentials, on_response=on_response),
        refusals=Refusals(
            denials=denials or DenialResponses(resource=resource, origins=origins),
            admission=admission,
            authorization=authorization,
            observer=observer,
            waiting=WaitingDenials(max_bytes=max_mcp_bytes),
        ),
        observer=observer,
        reads_jwt_payload=verifier.reads_jwt_payload,
    )
