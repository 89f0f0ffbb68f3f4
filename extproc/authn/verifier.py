"""From an unverified token to an ``Identity``: the steps of RFC 8725 and RFC 9068, in order.

``Verifier.verify`` takes them all, with these numbers at its lines:

 1. format    compact form, three base64url segments, bounded length, two unambiguous JSON objects
 2. issuer    chosen by the exact ``iss``, before anything else is looked at
 3. header    algorithm allowed; type expected; no critical extension
 4. key       of that issuer only; fits the algorithm
 5. signature verified here, or Envoy's jwt_authn verified this very token (then there is no step 4)
 6. times     ``exp`` required; ``nbf`` and ``iat`` when present
 7. audience  one of the issuer's, as ``authn.audience`` compares them
 8. subject   a non-empty string; no string has U+0000
 9. claims    those that the issuer's configuration requires
10. scopes    all that the issuer's configuration requires, each itself or by one that includes it

Not checked here: whether STS would accept the token, and revocation at the provider.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import IntEnum
from typing import Any

from extproc.authn.audience import Audiences
from extproc.authn.claims import (
    check_audience,
    check_required_claims,
    check_scopes,
    check_strings,
    check_subject,
    check_times,
    check_timestamps,
)
from extproc.authn.envoy_jwt import check_same_token, is_same_token
from extproc.authn.signature import check_header, check_signature
from extproc.authn.token import TokenLimits, check_form, parse
from extproc.authn.token_identity import TokenIdentity
from extproc.authn.trusted_issuer import ExchangedTokens, TrustedIssuer
from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.interning import intern
from extproc.values import Identity


class Step(IntEnum):
    """The verification steps, as numbered above."""

    FORMAT = 1
    ISSUER = 2
    HEADER = 3
    KEY = 4
    SIGNATURE = 5
    TIMES = 6
    AUDIENCE = 7
    SUBJECT = 8
    CLAIMS = 9
    SCOPES = 10


def _unobserved(_step: Step) -> None:
    """Ignore the step."""


class Verifier:
    """Verifies tokens of the trusted issuers.

    Args:
        keeps_claims: whether claims stay in memory although they are in the token that a session keeps:
            where each request reads them.

    Attributes:
        reads_jwt_payload: whether Envoy's jwt_authn verifies the tokens of an issuer.
        exchange_headers: names of headers that may carry a separate token for STS.
    """

    def __init__(
        self,
        *,
        issuers: list[TrustedIssuer],
        clock: Clock,
        limits: TokenLimits | None = None,
        keeps_claims: bool = False,
    ) -> None:
        if not issuers:
            raise ValueError("at least one issuer is required")
        self._issuers = {trusted.issuer: trusted for trusted in issuers}
        if len(self._issuers) != len(issuers):
            raise ValueError("an issuer is configured twice")
        self._clock = clock
        self._limits = limits or TokenLimits()
        self._keeps_claims = keeps_claims
        self.reads_jwt_payload = any(trusted.keys is None for trusted in issuers)
        self.exchange_headers = frozenset(
            trusted.exchange_header for trusted in issuers if trusted.exchange_header
        )

    async def verify(
        self,
        unverified_token: str,
        *,
        jwt_payload: Mapping[str, object] | None = None,
        begin: Callable[[Step], None] = _unobserved,
        is_for_sts: bool = False,
        exchanged: ExchangedTokens | None = None,
    ) -> Identity:
        """Verify one token; waits only while an unknown key is fetched.

        Args:
            unverified_token: the token.
            jwt_payload: the claims that Envoy's jwt_authn says it verified.
            begin: called with each step before it is taken.
            is_for_sts: the token is a separate one for STS, with audiences of its own and without steps 9
                and 10: it gives no access.
            exchanged: such a token comes from an exchange at the provider. Then its audiences are these, and
                step 9 is taken with these required claims.

        Raises:
            Denied: with the reason of the first step that fails.
        """
        begin(Step.FORMAT)  # 1
        unverified = parse(unverified_token, self._limits)
        begin(Step.ISSUER)  # 2
        trusted = self._trusted(unverified.claims)
        begin(Step.HEADER)  # 3
        algorithm = check_header(unverified.header, trusted)
        if trusted.keys is None:
            key = None
            begin(Step.SIGNATURE)  # 5, by Envoy
            check_same_token(unverified.claims, jwt_payload)
        else:
            begin(Step.KEY)  # 4
            key = await trusted.keys.find(unverified.header.get("kid"), algorithm)
            begin(Step.SIGNATURE)  # 5
            check_signature(unverified, key, algorithm)
        claims = unverified.claims  # signed by the issuer: from here on they are its word
        begin(Step.TIMES)  # 6
        expires_at = check_times(claims, now=self._clock(), leeway=trusted.leeway)
        begin(Step.AUDIENCE)  # 7
        check_audience(claims, _audiences(trusted, exchanged, is_for_sts=is_for_sts))
        begin(Step.SUBJECT)  # 8
        subject = check_subject(claims)
        check_strings(claims)
        if not is_for_sts:
            begin(Step.CLAIMS)  # 9
            check_required_claims(claims, trusted.required_claims)
            begin(Step.SCOPES)  # 10
            check_scopes(claims, trusted.required_scopes)
        elif exchanged is not None:
            begin(Step.CLAIMS)
            check_required_claims(claims, exchanged.required_claims)
        # STS gets this very token, so a session keeps it. Where Envoy verifies, claims are compared for
        # every request.
        reads_token = (
            key is not None and trusted.exchange_header is None and not is_for_sts and not self._keeps_claims
        )
        identity = Identity(
            issuer=trusted.issuer,
            subject=subject,
            expires_at=expires_at,
            claims=claims if reads_token else _with_interned_strings(claims),
            key_thumbprint=key.thumbprint if key else None,
            config_digest=trusted.config_digest,
        )
        return TokenIdentity(identity, unverified_token) if reads_token else identity

    def assume(
        self, claims: Mapping[str, Any], *, expires_at: float, begin: Callable[[Step], None] = _unobserved
    ) -> Identity:
        """Return the identity of claims that are taken as verified. For explanations only.

        Steps 3 to 5, the token's size and the present time count as passed. The other steps check the
        claims that are there: ``iss``, ``exp``, ``aud`` and ``sub`` may be missing. Claims without ``iss``
        count as those of the only issuer; with several issuers, steps 7, 9 and 10 are skipped.

        Raises:
            Denied: no token with these claims could ever be verified.
        """
        begin(Step.FORMAT)
        check_form(claims, self._limits)
        if "iss" in claims or len(self._issuers) == 1:
            begin(Step.ISSUER)
            trusted = self._trusted(claims) if "iss" in claims else next(iter(self._issuers.values()))
            if "aud" in claims:
                begin(Step.AUDIENCE)
                check_audience(claims, trusted.audiences)
        else:
            trusted = None
        begin(Step.TIMES)
        check_timestamps(claims)
        if "sub" in claims:
            begin(Step.SUBJECT)
            check_subject(claims)
        check_strings(claims)
        if trusted is not None:
            begin(Step.CLAIMS)
            check_required_claims(claims, trusted.required_claims)
            begin(Step.SCOPES)
            check_scopes(claims, trusted.required_scopes)
        return Identity(
            issuer=trusted.issuer if trusted else "",
            subject=claims.get("sub", ""),
            expires_at=expires_at,
            claims=claims,
            key_thumbprint=None,
        )

    async def for_exchange(
        self, identity: Identity, unverified_token: str, unverified_exchange_tokens: Mapping[str, str]
    ) -> tuple[Identity, str]:
        """Return the identity, limited to the lifetime of both tokens, and the token for STS.

        STS gets the bearer token, unless its issuer is configured with an ``exchange_header``. The token
        in that header passes steps 1 to 8; required claims and scopes apply to the bearer token.

        Args:
            identity: made of the bearer token.
            unverified_token: the bearer token.
            unverified_exchange_tokens: the tokens in the request's ``exchange_headers``, by name.

        Raises:
            Denied: the token for STS is missing, not valid, or of another issuer or subject.
        """
        trusted = self._issuers[identity.issuer]
        if unverified_exchange_tokens.keys() - {trusted.exchange_header}:
            # Such a value is part of the session's key but never verified: a client could open as many
            # sessions with one token as it can make up values.
            raise Denied(Reason.AUTHORIZATION_MALFORMED, "a token header that is another issuer's")
        if trusted.exchange_header is None:
            return identity, unverified_token
        token = unverified_exchange_tokens.get(trusted.exchange_header)
        if token is None:
            raise Denied(Reason.EXCHANGE_TOKEN_MISSING, f"no {trusted.exchange_header}")
        other = await self.verify(token, is_for_sts=True)
        if (other.issuer, other.subject) != (identity.issuer, identity.subject):
            raise Denied(Reason.EXCHANGE_TOKEN_FOREIGN, f"{trusted.exchange_header} is of another subject")
        both = replace(
            identity,
            expires_at=min(identity.expires_at, other.expires_at),
            exchange_key_thumbprint=other.key_thumbprint,
        )
        return both, token

    async def verify_exchanged(self, identity: Identity, unverified_token: str) -> Identity:
        """Verify the token that a provider gave in exchange for a user's, and that it is the same user's.

        It passes steps 1 to 9, with the audiences and required claims of the issuer's ``exchanged``.

        Raises:
            Denied: the token is not valid, or of another issuer or user.
        """
        wanted = self._issuers[identity.issuer].exchanged
        if wanted is None:
            raise Denied(Reason.CONFIGURATION_CHANGED, "the issuer's tokens are not exchanged any more")
        other = await self.verify(unverified_token, is_for_sts=True, exchanged=wanted)
        if other.issuer != wanted.issuer:
            raise Denied(Reason.EXCHANGE_TOKEN_FOREIGN, f"iss is not {wanted.issuer}")
        whose = identity.claims.get(wanted.subject_claim)
        if not isinstance(whose, str) or not whose:
            raise Denied(Reason.EXCHANGE_TOKEN_FOREIGN, f"the user's token has no {wanted.subject_claim}")
        if other.claims.get(wanted.token_subject_claim) != whose:
            raise Denied(
                Reason.EXCHANGE_TOKEN_FOREIGN,
                f"{wanted.token_subject_claim} is not the {wanted.subject_claim} of the user's token",
            )
        return other

    def is_verified_by_envoy(self, issuer: object) -> bool:
        """Return whether Envoy's jwt_authn verifies this issuer's tokens."""
        trusted = self._issuers.get(issuer) if isinstance(issuer, str) else None
        return trusted is not None and trusted.keys is None

    def still_trusted(self, identity: Identity, jwt_payload: Mapping[str, object] | None) -> bool:
        """Return whether the identity's token would still be verified. Does no I/O.

        * The configuration of the issuer is unchanged. An identity may come from the verifier of an
          older configuration that finished after a reload.
        * The issuer still publishes the keys that verified the tokens.
        * If Envoy verified the token, it did so again for this request.
        """
        trusted = self._issuers.get(identity.issuer)
        if trusted is None or trusted.config_digest != identity.config_digest:
            return False
        if trusted.keys is None:
            return jwt_payload is not None and is_same_token(identity.claims, jwt_payload)
        keys = trusted.keys.current()
        if keys is None or identity.key_thumbprint not in keys.thumbprints:
            return False
        exchanged = identity.exchange_key_thumbprint
        return exchanged is None or exchanged in keys.thumbprints

    def _hint(self, unverified_issuer: object) -> str:
        """Return a remark on a configured issuer that differs by a slash at the end only."""
        if isinstance(unverified_issuer, str):
            for other in (f"{unverified_issuer}/", unverified_issuer.removesuffix("/")):
                if other in self._issuers:
                    return f", which is {other}: a slash at the end counts, write issuer as the token has it"
        return ""

    def _trusted(self, unverified_claims: Mapping[str, Any]) -> TrustedIssuer:
        issuer = unverified_claims.get("iss")
        trusted = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if trusted is None:
            raise Denied(Reason.ISSUER_UNKNOWN, f"iss is no configured issuer{self._hint(issuer)}")
        return trusted


def _audiences(trusted: TrustedIssuer, exchanged: ExchangedTokens | None, *, is_for_sts: bool) -> Audiences:
    if exchanged is not None:
        return exchanged.audiences
    return trusted.exchange_audiences if is_for_sts else trusted.audiences


_COMMON = frozenset({"iss", "aud", "azp", "client_id", "appid", "tid", "scope", "scp", "typ", "token_use"})
"""Claims that are equal in the tokens of many users."""


def _with_interned_strings(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return equal claims that share memory with those of other sessions.

    Shared are names, the elements of lists, and common claims: thousands of users have the same groups.
    """
    shared: dict[str, Any] = {}
    for name, value in claims.items():
        if isinstance(value, list):
            value = [intern(each) if type(each) is str else each for each in value]  # noqa: PLW2901
        elif name in _COMMON and type(value) is str:
            value = intern(value)  # noqa: PLW2901
        shared[intern(name)] = value
    return shared
