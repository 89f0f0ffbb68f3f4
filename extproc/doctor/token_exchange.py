"""Checks of ``issuers[].token_exchange``: the provider accepts the gateway, and gives a usable token."""

import time
from functools import partial
from itertools import chain

from extproc.app.factories import build_key_stores, build_verifier
from extproc.app.token_exchanges import build_token_endpoint
from extproc.authn.own_thread import in_own_thread
from extproc.aws.tokens import objections_to_exchanged
from extproc.config import ConfigError, Issuer
from extproc.doctor.examination import Examination, issuer_path
from extproc.doctor.finding import Finding, failed, passed, warned
from extproc.errors import Denied, Reason
from extproc.token_exchange.endpoint import TokenEndpoint

_NOT_A_TOKEN = "not.a.token"  # noqa: S105 - as it says
_OF_THE_CLIENT = ("invalid_client", "unauthorized_client", "unsupported_grant_type")
"""Errors about the gateway itself; others may be about the token that is none."""

_NEXT = {
    Reason.TOKEN_EXCHANGE_UNAVAILABLE: "reach the token endpoint from this machine, or set token_endpoint",
    Reason.TOKEN_EXCHANGE_REFUSED: "get a new token, one that the provider lets this client exchange",
    Reason.TOKEN_EXCHANGE_INTERACTION: "log in again as the provider's policies ask, and give the new token",
    Reason.TOKEN_EXCHANGE_CONSENT: "consent to the client's scopes at the provider, as user or administrator",
    Reason.TOKEN_EXCHANGE_DENIED: "let the provider's policies admit this user to this client",
}


async def token_exchange(examination: Examination) -> list[Finding]:
    """Exchange the token, or ask with a token that is none whether the provider accepts the gateway."""
    return list(
        chain.from_iterable(
            [
                await _of_issuer(examination, position, issuer)
                for position, issuer in enumerate(examination.settings.issuers)
                if issuer.token_exchange is not None
            ]
        )
    )


async def _of_issuer(examination: Examination, position: int, issuer: Issuer) -> list[Finding]:
    subject = f"{issuer_path(position)} {issuer.issuer}"
    try:
        endpoint = build_token_endpoint(examination.settings, position, examination.aws_clock)
    except ConfigError as error:
        return [
            failed(
                subject, str(error), "make the file readable for the user that runs extproc, or correct it"
            )
        ]
    token = examination.unverified_token
    try:
        if token is None or examination.issuer is not issuer:
            return [await _probed(examination, endpoint, subject)]
        return [await _exchanged(examination, issuer, endpoint, subject, token)]
    except Denied as denied:
        cause, _, advice = denied.detail.partition("; ")
        return [failed(subject, cause, _NEXT.get(denied.reason) or advice or "see docs/authentication.md")]
    finally:
        endpoint.close()


async def _probed(examination: Examination, endpoint: TokenEndpoint, subject: str) -> Finding:
    """Ask with a token that is none: its refusal shows that the provider accepts the gateway."""
    give = "give --token F to exchange one"
    try:
        await _call(examination, endpoint, _NOT_A_TOKEN)
    except Denied as denied:
        if denied.reason is Reason.TOKEN_EXCHANGE_UNAVAILABLE or denied.code in _OF_THE_CLIENT:
            raise
        if denied.reason is Reason.TOKEN_EXCHANGE_REFUSED:
            return passed(subject, "the provider accepts this client")
        return warned(subject, f"the provider answers: {denied.detail}", give)
    return warned(subject, "the provider exchanged a token that is none", give)


async def _exchanged(
    examination: Examination, issuer: Issuer, endpoint: TokenEndpoint, subject: str, unverified_token: str
) -> Finding:
    """Exchange the token, and leave what comes back for STS."""
    settings, explanation = examination.settings, examination.explanation
    identity = explanation.identity if explanation else None
    answer = await _call(examination, endpoint, unverified_token)
    if identity is None:
        return passed(subject, "the provider exchanges the token; without a decision it goes no further")
    verifier = build_verifier(settings, build_key_stores(settings, examination.clock), examination.clock)
    try:
        other = await verifier.verify_exchanged(identity, answer)
    except Denied as denied:
        next_step = (
            "compare token_audiences, token_required_claims, token_issuer and subject_claim with the token"
        )
        return failed(subject, f"the exchanged token is not accepted: {denied}", next_step)
    examination.unverified_web_identity_token = answer
    examination.objections = list(objections_to_exchanged(issuer, other.claims))
    if examination.objections:
        first = examination.objections[0]
        return warned(subject, first.cause, first.next_step)
    lives = other.expires_at - examination.clock()
    return passed(subject, f"the provider gave a token for AWS, valid for {lives:.0f} s")


async def _call(examination: Examination, endpoint: TokenEndpoint, unverified_token: str) -> str:
    until = time.monotonic() + examination.settings.sts.deadline
    return await in_own_thread(partial(endpoint.exchange, unverified_token, until), name="doctor")
