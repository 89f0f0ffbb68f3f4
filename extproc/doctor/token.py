"""Checks of a token: its verification, and the decision of the rules."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from extproc.authn.token import TokenLimits, parse
from extproc.aws.tokens import objections
from extproc.config import Issuer
from extproc.doctor.examination import Examination
from extproc.doctor.finding import Finding, failed, passed, skipped, warned
from extproc.errors import Denied, Reason
from extproc.explain.explanation import Result, Stage
from extproc.explain.run import environment_of, explain_token
from extproc.spelling import did_you_mean

_GIVE = "give --token F to check it"
_SHOWN = 300  # characters of a claim
_NEXT = {
    Reason.TOKEN_MALFORMED: "give an access token in the form of a JWT; opaque tokens cannot be verified",
    Reason.TOKEN_EXPIRED: "get a new token from the provider",
    Reason.TOKEN_NOT_YET_VALID: "synchronise the clocks of this machine and of the provider",
    Reason.KEY_UNKNOWN: "get a new token: the provider no longer publishes the key that signed this one",
    Reason.SIGNATURE_INVALID: "get a token of this issuer: another key signed this one, or it was changed",
    Reason.ALGORITHM_REFUSED: "add the token's alg to `algorithms` of the issuer, or change the provider",
    Reason.KEYS_UNAVAILABLE: "see the checks discovery and keys",
    Reason.CLAIM_INVALID: "correct the provider: STS takes no token with such a claim either",
    Reason.CLAIM_REQUIRED: "compare required_claims of the issuer with the claims of the token",
    Reason.SCOPE_MISSING: "ask the provider for the missing scopes",
    Reason.EXCHANGE_TOKEN_MISSING: "the issuer has sts_token_header: clients must send that header too",
}


async def token(examination: Examination) -> list[Finding]:
    """Verify the token by the verifier's numbered steps."""
    unverified_token = examination.unverified_token
    if unverified_token is None:
        return [skipped("token", "none is given", _GIVE)]
    environment = environment_of(examination.settings, examination.clock)
    examination.explanation = explanation = await explain_token(environment, unverified_token, None)
    denied, steps = examination.denied, explanation.verification
    claims = _unverified_claims(unverified_token)
    if denied is None or _failed_stage(examination) is not Stage.TOKEN:
        examination.issuer = issuer = _issuer(examination, claims)
        examination.objections = list(objections(issuer, claims)) if issuer else []
        return [
            passed("token", f"{len(steps)} steps of verification passed"),
            *(
                warned("token", f"{entry.cause}{_azp(claims)}", entry.next_step)
                for entry in examination.objections
            ),
        ]
    step = next((entry.step for entry in steps if entry.passed is False), None)
    where = f"step {step.value} ({step.name.lower()}): " if step else ""
    seen = _seen(denied.reason, claims, examination)
    next_step = _NEXT.get(denied.reason, "see docs/authentication.md for this step")
    return [failed("token", f"{where}{denied}{seen[0]}", seen[1] or next_step)]


async def decision(examination: Examination) -> list[Finding]:
    """Show the role that the rules give, or why they give none."""
    denied, grant = examination.denied, examination.grant
    if grant is not None:
        return [passed(grant.mapping or "fallback_role_arn", f"gives {grant.assumed_role_arn}")]
    if denied is None or _failed_stage(examination) is Stage.TOKEN:
        return [skipped("rules", "no verified token")]
    explanation = examination.explanation
    reasons = (
        [f"{entry.rule.name}: {'; '.join(why)}" for entry, why in _looked_at(explanation)]
        if explanation
        else []
    )
    claims = f"; the token has the claims {', '.join(explanation.claims)}" if explanation else ""
    next_step = "`extproc explain --token F` shows each rule; add a mapping, or change the user's groups"
    return [failed("rules", f"{denied}{claims}{'; ' if reasons else ''}{'; '.join(reasons)}", next_step)]


def _looked_at(explanation: Any) -> list[tuple[Any, tuple[str, ...]]]:
    decision = explanation.decision
    looked_at = (*decision.evaluated, *decision.ceilings) if decision else ()
    return list(zip(looked_at, explanation.reasons, strict=False))


def _failed_stage(examination: Examination) -> Stage | None:
    stages = examination.explanation.stages if examination.explanation else ()
    return next((entry.stage for entry in stages if entry.result is Result.FAIL), None)


def _unverified_claims(unverified_token: str) -> Mapping[str, Any]:
    try:
        return parse(unverified_token, TokenLimits()).claims
    except Denied:
        return {}


def _issuer(examination: Examination, claims: Mapping[str, Any]) -> Issuer | None:
    issuers = examination.settings.issuers
    return next((issuer for issuer in issuers if issuer.issuer == claims.get("iss")), None)


def _seen(reason: Reason, unverified: Mapping[str, Any], examination: Examination) -> tuple[str, str]:
    """Return what the token has and what is expected, and the next step; of iss, aud and exp alone."""
    issuers = examination.settings.issuers
    if reason is Reason.ISSUER_UNKNOWN:
        known = [issuer.issuer for issuer in issuers]
        has = unverified.get("iss")
        hint = did_you_mean(has, known) if isinstance(has, str) else ""
        return (
            f"; the token has {_shown(has)}, issuers are {_shown(known)}",
            f"add it to issuers, exactly so{hint}",
        )
    if reason is Reason.AUDIENCE_WRONG:
        issuer = _issuer(examination, unverified)
        accepted = issuer.audiences if issuer else []
        next_step = "ask the provider for a token of this resource, or add the token's aud to `audiences`"
        if "aud" not in unverified:
            next_step = "let the client ask the provider for a token of this resource; docs/idp has the ways"
        return f"; the token has {_shown(unverified.get('aud'))}, audiences are {_shown(accepted)}", next_step
    if reason is Reason.CLAIM_REQUIRED:
        return _seen_azp(unverified, _issuer(examination, unverified))
    expires_at = unverified.get("exp")
    if reason is Reason.TOKEN_EXPIRED and isinstance(expires_at, int) and expires_at > 0:
        return f", at {datetime.fromtimestamp(expires_at, UTC):%Y-%m-%d %H:%M:%S} UTC", ""
    return "", ""


def _seen_azp(unverified: Mapping[str, Any], issuer: Issuer | None) -> tuple[str, str]:
    """Return the same for a client that ``required_claims.azp`` does not have."""
    required = issuer.required_claims.get("azp") if issuer else None
    accepted = required if isinstance(required, list) else [required]
    if required is None or "azp" not in unverified or unverified["azp"] in accepted:
        return "", ""
    next_step = (
        "add the client to required_claims.azp, and to IAM as `extproc aws` prints it; for clients that "
        "register themselves, set token_exchange or choose another way in docs/idp"
    )
    return f"{_azp(unverified)}; required are {_shown(accepted)}", next_step


def _azp(claims: Mapping[str, Any]) -> str:
    return f" (azp is {_shown(claims['azp'])})" if "azp" in claims else ""


def _shown(value: object) -> str:
    return ascii(value)[:_SHOWN]
