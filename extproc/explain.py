"""What ``extproc explain`` says about a token: each verification step, passed or not, and why.

The steps are the verifier's own: it tells each one before it takes it, so the last one told
is the one that failed. The token itself is never part of the result.
"""

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from extproc.app.rooms import build_key_stores, build_policy, build_targets, build_verifier
from extproc.authn.token import MAX_TOKEN_BYTES
from extproc.authn.verifier import Step, Verifier
from extproc.clock import Clock, system_clock
from extproc.config import Settings
from extproc.dryrun import BadInputError, as_json, decide, identity_of
from extproc.errors import Denied
from extproc.policy.rules import Decision
from extproc.values import Grant, Identity

_MAX_INPUT_BYTES = 1024 * 1024

__all__ = ["BadInputError", "Explanation", "explain", "to_json", "to_text"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step of the verification. ``passed`` None: not reached."""

    step: Step
    passed: bool | None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """All steps of one verification, and the identity if they all passed."""

    steps: tuple[StepResult, ...]
    outcome: Identity | Denied


async def verify_in_steps(verifier: Verifier, unverified_token: str) -> Verification:
    """Verify a token and say how far it came."""
    begun: list[Step] = []
    try:
        outcome: Identity | Denied = await verifier.verify(unverified_token, begin=begun.append)
    except Denied as denied:
        outcome = denied
    failed = begun[-1] if isinstance(outcome, Denied) else None
    steps = []
    for step in Step:
        if isinstance(outcome, Denied) and step is failed:
            steps.append(StepResult(step, passed=False, reason=outcome.reason.value, detail=outcome.detail))
        elif step in begun:
            steps.append(StepResult(step, passed=True))
        else:
            steps.append(StepResult(step, passed=None))
    return Verification(tuple(steps), outcome)


def read_token(source: Path) -> str:
    """A token from a file, without the white space around it.

    Raises:
        BadInputError: the file cannot be read or is empty.
    """
    # Latin-1 takes every byte: what is no token is for the verifier to refuse, not for us.
    unverified_token = _read(source).decode("latin-1").strip()
    if not unverified_token:
        raise BadInputError("the token file is empty")
    return unverified_token


def _read(source: Path) -> bytes:
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(source) == "-" else source.open("rb") as file:
            content = file.read(_MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise BadInputError(f"{source}: {error.strerror}") from None
    if len(content) > _MAX_INPUT_BYTES:
        raise BadInputError(
            f"{source}: larger than {_MAX_INPUT_BYTES} bytes; a token has at most {MAX_TOKEN_BYTES}"
        )
    return content


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole way from a token, or from claims, to a role. ``verification`` None: claims were given."""

    verification: Verification | None
    decision: Decision | None  # None: no identity, so policy was not asked

    @property
    def outcome(self) -> Grant | Denied:
        """What it comes to."""
        if self.decision is not None:
            return self.decision.outcome
        assert self.verification is not None  # noqa: S101 - one of the two is always there
        assert isinstance(self.verification.outcome, Denied)  # noqa: S101
        return self.verification.outcome

    @property
    def allowed(self) -> bool:
        """Whether there is a role."""
        return isinstance(self.outcome, Grant)


def explain(
    settings: Settings,
    *,
    token: Path | None = None,
    claims: Path | None = None,
    request: Path | None = None,
    clock: Clock = system_clock,
) -> Explanation:
    """Explain the token or the claims in a file, for the request in another.

    Raises:
        BadInputError: something of it cannot be used.
    """
    asked = _read(request) if request is not None else None
    policy, targets = build_policy(settings), build_targets(settings)
    if claims is not None:
        identity = identity_of(_read(claims), now=clock())
        return Explanation(None, decide(policy, targets, identity, asked))
    if token is None:
        raise BadInputError("a token or claims are required")
    unverified_token = read_token(token)

    async def run() -> Verification:
        # Built inside the loop that uses it: key stores belong to one.
        verifier = build_verifier(settings, build_key_stores(settings, clock), clock)
        return await verify_in_steps(verifier, unverified_token)

    verification = asyncio.run(run())
    if isinstance(verification.outcome, Denied):
        return Explanation(verification, None)
    return Explanation(verification, decide(policy, targets, verification.outcome, asked))


def to_json(explanation: Explanation) -> str:
    """One JSON object; ``verification`` only if a token was verified."""
    decision = explanation.decision
    if decision is None:
        outcome = explanation.outcome
        assert isinstance(outcome, Denied)  # noqa: S101 - the token was refused
        decision = Decision(outcome, ())
    document = as_json(decision)
    if explanation.verification is not None:
        document["verification"] = [
            {
                "step": int(result.step),
                "name": result.step.name.lower(),
                "passed": result.passed,
                "reason": result.reason,
                "detail": result.detail,
            }
            for result in explanation.verification.steps
        ]
    return json.dumps(document, indent=2)


def to_text(explanation: Explanation) -> str:
    """For people: one line a step, one a rule, and what it comes to."""
    lines: list[str] = []
    if explanation.verification is not None:
        lines += [_step_line(result) for result in explanation.verification.steps]
    else:
        lines.append("claims taken as given; no token was verified")
    for entry in explanation.decision.evaluated if explanation.decision else ():
        verdict = f"error: {entry.error}" if entry.error else "matches" if entry.matched else "does not match"
        lines.append(f"rule {entry.rule.name}: {verdict}")
    outcome = explanation.outcome
    if isinstance(outcome, Denied):
        lines.append(f"deny: {outcome}")
    else:
        lines += [
            f"allow: {outcome.role_arn}",
            f"  by {'mapping ' + outcome.mapping if outcome.mapping else 'fallback_role_arn'}",
            f"  as session {outcome.session_name} for {outcome.duration} s",
        ]
    return "\n".join(lines)


def _step_line(result: StepResult) -> str:
    verdict = {True: "pass", False: f"FAIL  {result.reason}: {result.detail}", None: "-"}[result.passed]
    return f"{result.step:2d} {result.step.name.lower():<10}{verdict}"
