"""Checks of STS: that it answers, that it exchanges the token, and the identity that comes out."""

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from extproc.authn.own_thread import in_own_thread
from extproc.doctor.examination import Examination
from extproc.doctor.finding import Finding, failed, passed, skipped
from extproc.errors import Denied, Reason
from extproc.policy.arn import is_aws_endpoint
from extproc.values import Grant

_Answer = TypeVar("_Answer")

_NOT_A_TOKEN = "not.a.token"  # noqa: S105 - as it says
_NO_ANSWER = (Reason.STS_UNAVAILABLE, Reason.STS_THROTTLED)
_REGION_DISABLED = "RegionDisabledException"
_SHORTEST = 900  # seconds, of a session

_NEXT = {
    Reason.STS_TOKEN_EXPIRED: "get a new token, and compare clocks",
    Reason.STS_TOKEN_REFUSED: (
        "compare the IAM OIDC provider with the token: issuer, audience (client id list), and whether AWS "
        "can fetch the issuer's keys from the internet"
    ),
    Reason.STS_PROVIDER_UNREACHABLE: "make the issuer's metadata and keys public: AWS fetches them itself",
    Reason.STS_MISCONFIGURED: "correct IAM as the message says; `extproc aws` prints what it must have",
    Reason.STS_THROTTLED: "wait a few seconds, and run the doctor again",
    Reason.STS_UNAVAILABLE: "see the check sts",
}


async def sts(examination: Examination) -> list[Finding]:
    """Ask STS with a token that is none. Its refusal shows that it is STS, and what its clock says."""
    subject = f"sts {examination.sts.endpoint_url}"
    earlier = examination.broken.get(examination.sts.endpoint_url)
    if earlier is not None:
        return [skipped(subject, f"see {earlier}")]
    _, role_arn = next(examination.settings.role_arns())
    grant = Grant(role_arn=role_arn, session_name="extproc-doctor", duration=_SHORTEST, mapping=None)
    try:
        await _call(examination, partial(examination.sts.assume, _NOT_A_TOKEN, grant))
    except Denied as denied:
        if denied.code == _REGION_DISABLED:
            return [
                failed(
                    subject,
                    denied.detail,
                    "enable STS in this region (IAM, Account settings), or set sts.region",
                )
            ]
        if denied.reason in _NO_ANSWER:
            examination.broken[examination.sts.endpoint_url] = "sts"
            next_step = "correct sts.endpoint_url or sts.region: this endpoint does not answer as STS does"
            return [failed(subject, denied.detail, next_step)]
    return [passed(subject, f"answers in {examination.settings.sts_region}")]


async def exchange(examination: Examination) -> list[Finding]:
    """Exchange the token for credentials of its role."""
    grant, token = examination.grant, examination.unverified_token
    if grant is None or token is None:
        return [skipped("role", "no role for a token", "" if token else "give --token F")]
    earlier = examination.broken.get(examination.sts.endpoint_url)
    if earlier is not None:
        return [skipped(grant.role_arn, f"see {earlier}")]
    issuer = examination.issuer
    if issuer is not None and issuer.sts_token_header is not None:
        return [skipped(grant.role_arn, f"STS gets another token, from the header {issuer.sts_token_header}")]
    if issuer is not None and issuer.token_exchange is not None:
        if examination.unverified_web_identity_token is None:
            return [skipped(grant.role_arn, "see token_exchange")]
        token = examination.unverified_web_identity_token
    try:
        examination.credentials = await _call(examination, partial(examination.sts.assume, token, grant))
    except Denied as denied:
        next_step = _NEXT.get(denied.reason) or _trust(grant, examination)
        if denied.reason is Reason.STS_MISCONFIGURED and examination.objections:
            next_step = examination.objections[0].next_step
        return [failed(grant.role_arn, denied.detail, next_step)]
    lifetime = examination.credentials.expires_at - examination.aws_clock()
    return [passed(grant.role_arn, f"credentials for {lifetime:.0f} s, session {grant.session_name}")]


async def identity(examination: Examination) -> list[Finding]:
    """Ask AWS for the identity behind the credentials, and compare it with the decision."""
    grant, credentials = examination.grant, examination.credentials
    if grant is None or credentials is None:
        return [skipped("caller", "no credentials")]
    try:
        arn = await _call(examination, partial(examination.sts.caller_arn, credentials))
    except Denied as denied:
        if not is_aws_endpoint(examination.sts.endpoint_url):
            return [skipped("caller", "this STS does not answer GetCallerIdentity")]
        return [
            failed("caller", denied.detail, "run the doctor again: AWS does not accept its own credentials")
        ]
    # An assumed role's ARN has the account and the name of the role, without its path.
    account, _, role = grant.assumed_role_arn.partition(":iam::")[2].partition(":")
    if not arn.endswith(f"::{account}:assumed-role/{role.rpartition('/')[2]}/{grant.session_name}"):
        detail = f"{arn}, and not session {grant.session_name} of {grant.assumed_role_arn}"
        return [failed("caller", detail, "correct sts.endpoint_url: this STS gave another identity")]
    return [passed("caller", arn)]


async def _call(examination: Examination, work: Callable[[float], _Answer]) -> _Answer:
    """Run a blocking call of STS, which gets the time at which to give up."""
    until = time.monotonic() + examination.settings.sts.deadline
    return await in_own_thread(partial(work, until), name="doctor")


def _trust(grant: Grant, examination: Examination) -> str:
    provider = (examination.issuer.issuer if examination.issuer else "").partition("://")[2]
    return (
        f"{grant.role_arn} does not exist, or its trust policy does not admit this token: let it allow "
        f"sts:AssumeRoleWithWebIdentity to the OIDC provider {provider}, with this token's aud and sub; "
        "`extproc aws` prints both"
    )
