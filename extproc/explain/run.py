"""Drive a request, a token or claims through the server's own code, and explain the outcome.

A request's messages go through ``request.stream.Stream`` and a pipeline made by
``app.factories.build_pipeline``, as in the server. A token without a request is verified,
and the policy decides without the variables of a request.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from extproc import strictjson
from extproc.app.factories import (
    build_denials,
    build_key_stores,
    build_origins,
    build_pipeline,
    build_policy,
    build_resource,
    build_targets,
    build_verifier,
)
from extproc.authn.token import TokenLimits, parse
from extproc.authn.verifier import Verifier
from extproc.aws.tokens import objections
from extproc.clock import Clock
from extproc.config import Settings
from extproc.errors import Denied
from extproc.explain import asked
from extproc.explain.asked import AskedRequest
from extproc.explain.errors import BadInputError
from extproc.explain.explanation import Explanation, Result, Stage, StageResult
from extproc.explain.stages import Watcher, explanation_of, failed_at, order_of, stage_results, with_scopes
from extproc.explain.stand_ins import (
    Answered,
    AssumingVerifier,
    DecisionNotes,
    NoCredentials,
    WatchedVerifier,
)
from extproc.explain.why_not import why_not
from extproc.ext_proc import envoy_side
from extproc.fairness.stream_slots import StreamSlots
from extproc.policy.ceilings import Ceiling
from extproc.policy.cel import Budget, EvaluationError
from extproc.policy.inputs import NO_INPUTS, Inputs
from extproc.policy.mappings import Rule
from extproc.policy.rules import Decision, Policy
from extproc.policy.why import why
from extproc.request.admission import Admission
from extproc.request.denial_responses import shown_text
from extproc.request.pipeline import Lasting, Pipeline
from extproc.request.rate_limited import RateLimitedAuthorization
from extproc.request.stream import Stream
from extproc.sessions.revocation import DenyList
from extproc.sessions.table import SessionTable
from extproc.signing.signer import Signer
from extproc.signing.targets import TargetTable
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.record import RequestRecord
from extproc.values import Grant, Identity

_PLACEHOLDER = "claims.instead.of-a-token"


@dataclass(frozen=True, slots=True)
class Environment:
    """A configuration, and what was built from it.

    Attributes:
        with_reasons: whether explanations say why each mapping and ceiling matched or not.
        why_not: a role or mapping of which explanations say what would have to be different for it.
    """

    settings: Settings
    policy: Policy
    targets: TargetTable
    verifier: Verifier
    deny_list: DenyList
    clock: Clock
    with_reasons: bool = True
    why_not: str | None = None


def environment_of(settings: Settings, clock: Clock) -> Environment:
    """Return what the server would decide with. Call it in the event loop, to which key stores belong."""
    return Environment(
        settings=settings,
        policy=build_policy(settings),
        targets=build_targets(settings),
        verifier=build_verifier(settings, build_key_stores(settings, clock), clock),
        deny_list=DenyList(clock=clock),  # empty: only a running server has revocations
        clock=clock,
    )


async def explain_token(
    environment: Environment, unverified_token: str, request: bytes | None
) -> Explanation:
    """Explain a token, for a request or by itself.

    Raises:
        BadInputError: the request is not usable.
    """
    watcher = WatchedVerifier(environment.verifier)
    if request is not None:
        return await _of_request(
            environment, watcher, _parsed(environment, request).with_bearer(unverified_token)
        )
    payload = _assumed_jwt_payload(environment.verifier, unverified_token)
    return await _of_token(environment, watcher, unverified_token, payload)


async def explain_claims(environment: Environment, claims: bytes, request: bytes | None) -> Explanation:
    """Explain claims as if a token with them had been verified.

    Raises:
        BadInputError: the claims or the request are not usable.
    """
    try:
        members = strictjson.loads_object(claims)
    except strictjson.AmbiguousJSONError as error:
        raise BadInputError(f"claims: {error}") from None
    watcher = AssumingVerifier(environment.verifier, members, clock=environment.clock)
    if request is None:
        explanation = await _of_token(environment, watcher, _PLACEHOLDER, None)
    else:
        parsed = _parsed(environment, request).with_bearer(_PLACEHOLDER)
        explanation = await _of_request(environment, watcher, parsed)
    return replace(explanation, notes=(*explanation.notes, *_notes_on(members, environment.clock())))


async def explain_request(environment: Environment, request: bytes) -> Explanation:
    """Explain a request as it is, with the token that it has or none.

    Raises:
        BadInputError: it is not usable.
    """
    return await _of_request(
        environment, WatchedVerifier(environment.verifier), _parsed(environment, request)
    )


def _parsed(environment: Environment, request: bytes) -> AskedRequest:
    return asked.parse(request, authority=urlsplit(environment.settings.resource.url).netloc)


async def _of_token(
    environment: Environment, watcher: Watcher, unverified_token: str, jwt_payload: Mapping[str, Any] | None
) -> Explanation:
    stage, decision = Stage.TOKEN, None
    try:
        identity = await watcher.verify(unverified_token, jwt_payload=jwt_payload)
        stage = Stage.REVOCATION
        environment.deny_list.refuse(identity)
        stage = Stage.POLICY
        decision = await asyncio.to_thread(
            environment.policy.decide, identity, Inputs(now=environment.clock())
        )
        outcome: Grant | Denied | Answered = decision.outcome
    except Denied as denied:
        outcome = denied
    order = [Stage.REQUEST, Stage.TOKEN, Stage.REVOCATION, Stage.POLICY, Stage.STS]
    stages = stage_results(order, outcome, stage)
    stages[0] = StageResult(Stage.REQUEST, Result.NOT_TRIED, "none was given, so rules see nothing of one")
    explanation = explanation_of(watcher, outcome, stages)
    if isinstance(outcome, Denied):
        settings = environment.settings
        denials = build_denials(settings, build_resource(settings), build_origins(settings, watcher))
        explanation = replace(explanation, client_text=denials.text(outcome))
    if decision is not None:
        explanation = await asyncio.to_thread(
            _with_policy, explanation, environment, decision, identity, NO_INPUTS
        )
    return explanation


async def _of_request(environment: Environment, watcher: Watcher, request: AskedRequest) -> Explanation:
    if watcher.reads_jwt_payload and not request.says_jwt_payload:
        request = replace(request, jwt_payload=_assumed_jwt_payload(environment.verifier, _bearer(request)))
    noted = DecisionNotes()
    pipeline = build_pipeline(
        environment.settings.model_copy(update={"observe_upstream": "never"}),
        Lasting(
            sessions=SessionTable(max_entries=1, clock=environment.clock),
            credentials=NoCredentials(environment.clock),
            deny_list=environment.deny_list,
            signer=Signer(environment.clock),
            slots=StreamSlots(),  # nothing goes upstream
            observer=noted,
            metrics=Metrics(),
        ),
        verifier=watcher,
        policy=environment.policy,
        targets=environment.targets,
        filters_lists=False,  # no response comes
    )
    try:
        reply = await _drive(pipeline, request)
    finally:
        pipeline.authorization.close()
    record, outcome = noted.outcome(reply[0] if reply else None)
    admission, inputs = _admitted(pipeline, record, request)
    decision = None
    if record.identity is not None and "policy" in record.stages:  # else the policy was not asked
        # Once more, to see what was evaluated: equal inputs give an equal decision.
        decision = await asyncio.to_thread(environment.policy.decide, record.identity, inputs)
    failed = failed_at(outcome, record, watcher, admission, decision)
    outcome = with_scopes(outcome, watcher, decision)
    stages = stage_results(order_of(request, admission, failed), outcome, failed)
    if isinstance(outcome, Answered):
        stages[0] = StageResult(
            Stage.REQUEST, Result.ANSWERED, "nothing is forwarded, and no token is needed"
        )
    explanation = replace(
        explanation_of(watcher, outcome, stages),
        request=request,
        admission=admission,
        message=inputs.message,
        client_text=shown_text(reply[1]) if reply and isinstance(outcome, Denied) else None,
    )
    if isinstance(outcome, Grant) and record.identity is not None and admission is not None:
        counting = _rate_limit_notes(pipeline, record.identity, inputs, admission)
        explanation = replace(explanation, notes=(*explanation.notes, *counting))
    if decision is not None and record.identity is not None:
        explanation = await asyncio.to_thread(
            _with_policy, explanation, environment, decision, record.identity, inputs
        )
    return explanation


def _rate_limit_notes(
    pipeline: Pipeline, identity: Identity, inputs: Inputs, admission: Admission
) -> list[str]:
    """Return the rate limits that count the request; only a running server knows what is left of them."""
    authorization = pipeline.authorization
    if not isinstance(authorization, RateLimitedAuthorization):
        return []
    return [
        f"rate limit {limit.name} counts the request: {limit.rate.count} in {limit.rate.seconds} s for each "
        f"{' and '.join(limit.per) or 'gateway'}, {limit.rate.burst} at once"
        for limit in authorization.limits_of(identity, inputs, admission.target.name)
    ]


async def _drive(pipeline: Pipeline, request: AskedRequest) -> tuple[int, bytes] | None:
    """Send Envoy's messages until the last answer; return status and body if that goes to the client."""
    stream = Stream(pipeline, target_name=request.target)
    for message in request.messages():
        step = stream.receive(message)
        answer = await step if inspect.isawaitable(step) else step
        if answer.last:
            return envoy_side.immediate_response(answer.message)
    raise RuntimeError("the stream did not decide")  # it answers a whole request


def _admitted(
    pipeline: Pipeline, record: RequestRecord, request: AskedRequest
) -> tuple[Admission | None, Inputs]:
    """Return admission and inputs of the request, computed once more: the pipeline keeps neither."""
    try:
        admission = pipeline.admission.admit(record.head) if record.head is not None else None
        if not isinstance(admission, Admission):
            return None, NO_INPUTS
    except Denied:
        return None, NO_INPUTS
    try:
        return admission, pipeline.admission.read(admission, request.body, RequestRecord())
    except Denied:
        return admission, NO_INPUTS


def _with_policy(
    explanation: Explanation, environment: Environment, decision: Decision, identity: Identity, inputs: Inputs
) -> Explanation:
    """Add what the policy evaluated, and the reasons. Evaluates CEL: not for the event loop."""
    policy = environment.policy
    looked_at = (*decision.evaluated, *decision.ceilings)
    reasons: tuple[tuple[str, ...], ...] = ()
    variables: Mapping[str, Any] | None = None
    with contextlib.suppress(EvaluationError):  # then nothing was evaluated
        variables = policy.variables(identity, inputs, Budget())
    if variables is not None and environment.with_reasons:
        reasons = tuple(why(entry, variables) for entry in looked_at)
    answer = None
    if environment.why_not is not None and variables is not None:
        answer = why_not(
            policy,
            environment.why_not,
            decision=decision,
            identity=identity,
            inputs=inputs,
            variables=variables,
        )
    entries: list[Rule | Ceiling] = [*policy.rules, *policy.ceilings]
    known = [entry.rule for entry in looked_at]
    spent = f"{decision.cost} of {environment.settings.limits.policy_cost} units"
    return replace(
        explanation,
        stages=tuple(
            replace(entry, detail=spent)
            if (entry.stage, entry.result) == (Stage.POLICY, Result.PASS)
            else entry
            for entry in explanation.stages
        ),
        decision=decision,
        reasons=reasons,
        claims=tuple(sorted(identity.claims)),
        why_not=answer,
        identity=identity,
        variables=variables,
        inputs=inputs,
        not_tried=tuple(entry for entry in entries if entry not in known),
        notes=(*explanation.notes, *_objections(environment, identity)),
    )


def _objections(environment: Environment, identity: Identity) -> list[str]:
    """Return what STS would object to in the token, or that STS gets another one."""
    issuers = [entry for entry in environment.settings.issuers if entry.issuer == identity.issuer]
    exchanged = [
        "STS gets the token that the identity provider gives in exchange for this one "
        f"({issuer.token_exchange.grant}); explain does not ask the provider, `extproc doctor --token F` does"
        for issuer in issuers
        if issuer.token_exchange is not None
    ]
    return exchanged + [
        f"{found.cause}; {found.next_step}"
        for issuer in issuers
        for found in objections(issuer, identity.claims)
    ]


def _bearer(request: AskedRequest) -> str:
    values = request.values("authorization")
    return values[0].rpartition(" ")[2] if values else ""


def _assumed_jwt_payload(verifier: Verifier, unverified_token: str) -> Mapping[str, Any] | None:
    """Return the claims that jwt_authn would pass on, or None if it does not verify such a token."""
    try:
        claims = parse(unverified_token, TokenLimits()).claims
    except Denied:
        return None
    return claims if verifier.is_verified_by_envoy(claims.get("iss")) else None


def _notes_on(claims: Mapping[str, Any], now: float) -> list[str]:
    expires_at = claims.get("exp")
    if isinstance(expires_at, int | float) and expires_at < now:
        return ["exp of the claims is past: a token with them is refused (token_expired)"]
    return []
