"""The identity behind the credentials, compared with the decision."""

import time

import pytest

from extproc.doctor.aws import identity
from extproc.doctor.examination import Examination
from extproc.doctor.finding import Result
from extproc.errors import Denied, Reason
from extproc.explain.explanation import Explanation
from extproc.sts.aws_clock import AwsClock
from extproc.values import ChainedRole, Credentials
from support.credentials import grant
from support.settings import minimal_settings

AWS = "https://sts.us-east-1.amazonaws.com"


class Sts:
    """Answers with one ARN, or with a denial."""

    def __init__(self, answer, endpoint_url=AWS):
        self.answer = answer
        self.endpoint_url = endpoint_url

    def caller_arn(self, _credentials, _until):
        if isinstance(self.answer, Denied):
            raise self.answer
        return self.answer


async def found(sts, granted):
    examination = Examination(
        settings=minimal_settings(fallback_role_arn="arn:aws:iam::123456789012:role/Reader"),
        clock=time.time,
        aws_clock=AwsClock(system=time.time),
        sts=sts,
        endpoints=[],
        explanation=Explanation(outcome=granted, stages=(), verification=()),
        credentials=Credentials("ASIAFIRST", "secret", "token", time.time() + 900),
    )
    (finding,) = await identity(examination)
    return finding


async def test_the_session_of_the_decision_passes():
    arn = "arn:aws:sts::123456789012:assumed-role/Reader/alice"
    finding = await found(Sts(arn), grant())
    assert (finding.result, finding.detail) == (Result.PASS, arn)


async def test_of_a_chain_the_second_role_is_expected():
    chain = ChainedRole("arn:aws:iam::210987654321:role/path/Other")
    finding = await found(Sts("arn:aws:sts::210987654321:assumed-role/Other/alice"), grant(chain=chain))
    assert finding.result is Result.PASS


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:sts::123456789012:assumed-role/Writer/alice",
        "arn:aws:sts::123456789012:assumed-role/Reader/bob",
        "arn:aws:sts::210987654321:assumed-role/Reader/alice",
    ],
)
async def test_another_identity_fails_with_both(arn):
    finding = await found(Sts(arn), grant())
    assert finding.result is Result.FAIL
    assert arn in finding.detail
    assert "session alice of arn:aws:iam::123456789012:role/Reader" in finding.detail


async def test_aws_without_an_answer_is_a_failure_and_another_sts_may_not_know_the_question():
    denied = Denied(Reason.STS_ACCESS_DENIED, "STS answered 403 InvalidClientTokenId")
    assert (await found(Sts(denied), grant())).result is Result.FAIL
    assert (await found(Sts(denied, "https://minio.example"), grant())).result is Result.SKIPPED
