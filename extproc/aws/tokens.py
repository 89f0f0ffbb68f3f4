"""What STS would not take of a token that was verified here, as far as its claims show."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from extproc.aws.requirements import SESSION_TAGS_CLAIM, SOURCE_IDENTITY_CLAIM, provider_of
from extproc.config.issuers import Issuer


@dataclass(frozen=True, slots=True)
class Objection:
    """One cause for which STS may refuse the token.

    Attributes:
        cause: what is in the way; never a claim's value.
        next_step: what to do.
    """

    cause: str
    next_step: str


def objections(issuer: Issuer, claims: Mapping[str, Any]) -> Iterator[Objection]:
    """Yield what STS would object to, if IAM has what ``extproc aws`` prints.

    Args:
        issuer: the token's issuer. If STS gets another token than this one, there is nothing to yield.
        claims: the verified claims, or some of them: without ``exp`` they are not taken for a whole token.
    """
    if not (issuer.sts_token_header or issuer.token_exchange):
        yield from _objections(issuer, claims, required="required_claims", audiences="audiences")


def objections_to_exchanged(issuer: Issuer, claims: Mapping[str, Any]) -> Iterator[Objection]:
    """Yield the same for the claims of an exchanged token.

    Args:
        issuer: that of the user's token, which has ``token_exchange``.
        claims: the verified claims.
    """
    names = {"required": "token_required_claims", "audiences": "token_audiences"}
    yield from _objections(issuer, claims, **names)


def _objections(
    issuer: Issuer, claims: Mapping[str, Any], *, required: str, audiences: str
) -> Iterator[Objection]:
    """``required``, ``audiences``: the names of settings."""
    provider = provider_of(issuer)
    azp = claims.get("azp")
    compared = provider.client_ids if azp is None else provider.original_audiences
    if azp is not None and azp not in provider.client_ids:
        yield Objection(
            "the token has azp, the client in which the user logged in: STS compares that, not aud, with "
            "the client ids in IAM",
            f"list the clients in {required}.azp, and in IAM as `extproc aws` prints it; for clients "
            "that register themselves, set token_exchange or choose another way in docs/idp",
        )
    elif "aud" in claims and compared:
        stated = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if not set(stated) & set(compared):
            yield Objection(
                f"aud is spelled otherwise than {audiences}, and AWS compares it exactly with those in IAM",
                f"write the token's spelling into {audiences}, and into IAM as `extproc aws` prints it",
            )
    if "iat" not in claims and "exp" in claims:
        yield Objection(
            "the token has no iat, and STS takes none without it",
            "let the provider add iat to its tokens, or choose another way in docs/idp",
        )
    for claim, action, option in (
        (SESSION_TAGS_CLAIM, "sts:TagSession", "--session-tags"),
        (SOURCE_IDENTITY_CLAIM, "sts:SetSourceIdentity", "--source-identity"),
    ):
        if claim in claims:
            yield Objection(
                f"the token has {claim}: trust policies must allow {action}",
                f"compare them with what `extproc aws {option}` prints",
            )
