"""The contents of an explanation: the result of each stage, and the outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from extproc.errors import Denied
from extproc.explain.asked import AskedRequest
from extproc.explain.stand_ins import Answered, StepResult
from extproc.explain.why_not import WhyNot
from extproc.policy.ceilings import Ceiling
from extproc.policy.inputs import Inputs
from extproc.policy.mappings import Rule
from extproc.policy.mcp import McpMessage
from extproc.policy.rules import Decision
from extproc.request.admission import Admission
from extproc.values import Grant, Identity


class Stage(StrEnum):
    """The stages of a request, in the order they are shown."""

    REQUEST = "request"  # its head: form, origin, bearer token, target, path, headers
    TOKEN = "token"  # noqa: S105 - a stage, not a secret
    STS_TOKEN = "sts_token"  # noqa: S105
    REVOCATION = "revocation"
    BODY = "body"
    POLICY = "policy"
    STS = "sts"


class Result(StrEnum):
    """How a stage ended."""

    PASS = "pass"  # noqa: S105 - a result, not a secret
    FAIL = "fail"
    ANSWERED = "answered"  # by extproc itself: nothing is forwarded, and no token was needed
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class StageResult:
    """The result of one stage."""

    stage: Stage
    result: Result
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One request, or one token by itself.

    Attributes:
        request: None for a token or claims without a request.
        verification: the steps of the verifier; empty for claims, or if no token was verified.
        decision: the policy's decision; None if it made none.
        reasons: why each evaluated mapping, then each evaluated ceiling, matched or not.
        claims: the names of the token's claims, if it was verified.
        not_tried: mappings and ceilings that were not evaluated.
        notes: further remarks for operators.
        why_not: what would have to be different for the role of the environment's ``why_not``.
        client_text: what the client reads of a denial.
        identity: the verified identity, if the policy was asked. Never shown.
        variables: what the rules read, if they were evaluated. Never shown.
        inputs: what of the request they were made of. Never shown.
    """

    outcome: Grant | Denied | Answered
    stages: tuple[StageResult, ...]
    verification: tuple[StepResult, ...]
    request: AskedRequest | None = None
    admission: Admission | None = None
    message: McpMessage | None = None
    decision: Decision | None = None
    reasons: tuple[tuple[str, ...], ...] = ()
    claims: tuple[str, ...] = ()
    not_tried: tuple[Rule | Ceiling, ...] = ()
    notes: tuple[str, ...] = ()
    why_not: WhyNot | None = None
    client_text: str | None = None
    identity: Identity | None = field(default=None, repr=False)
    variables: Mapping[str, Any] | None = field(default=None, repr=False)
    inputs: Inputs | None = field(default=None, repr=False)

    @property
    def allowed(self) -> bool:
        """Return whether the server would not deny the request."""
        return not isinstance(self.outcome, Denied)
