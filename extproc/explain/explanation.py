"""What an explanation tells: how far a request comes, stage by stage, and what it comes to."""

from dataclasses import dataclass
from enum import StrEnum

from extproc.errors import Denied
from extproc.explain.asked import AskedRequest
from extproc.explain.stand_ins import Answered, StepResult
from extproc.policy.ceilings import Ceiling
from extproc.policy.mappings import Rule
from extproc.policy.mcp import McpMessage
from extproc.policy.rules import Decision
from extproc.request.admission import Admission
from extproc.values import Grant


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
    """One stage, and what there is to say of it."""

    stage: Stage
    result: Result
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One request, or one token by itself.

    Attributes:
        request: None: a token or claims by themselves, so rules see no request.
        verification: the steps of the verifier; none if it was not asked, or claims stand for a token.
        decision: what the policy looked at; None if it was not asked.
        reasons: why each mapping and then each ceiling that was looked at came out as it did.
        claims: the names of the token's claims, if it was verified.
        not_tried: mappings and ceilings that were not looked at.
        notes: what else an operator should know.
        told: what the client reads of a denial.
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
    told: str | None = None

    @property
    def allowed(self) -> bool:
        """Whether the server would not deny."""
        return not isinstance(self.outcome, Denied)
