"""The exchange of users' tokens under the present configuration.

    user's token ──token endpoint──▶ unverified ──verify──▶ WebIdentityToken ──▶ STS

A provider that is down harms no other's users: each has threads, a queue and a circuit breaker of its own,
which outlive configurations that do not change it.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import structlog

from extproc.authn.verifier import Verifier
from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.sts.guarded import GuardedCalls, Service
from extproc.token_exchange.endpoint import TokenEndpoint
from extproc.token_exchange.errors import UNUSABLE_TOKEN
from extproc.values import Identity, WebIdentityToken

SERVICE = Service(
    name="token-exchange",
    failed="token_exchange_failed",
    unavailable=Reason.TOKEN_EXCHANGE_UNAVAILABLE,
    busy=Reason.TOKEN_EXCHANGE_BUSY,
    failures=frozenset({Reason.TOKEN_EXCHANGE_UNAVAILABLE}),
    operator_errors=frozenset({Reason.TOKEN_EXCHANGE_MISCONFIGURED, Reason.TOKEN_EXCHANGE_DENIED}),
)

_ADVICE = {
    Reason.AUDIENCE_WRONG: "compare token_audiences with what `audience`, `resource` and `scope` ask for",
    Reason.CLAIM_REQUIRED: "compare token_required_claims with the token",
    Reason.ISSUER_UNKNOWN: "add the token's issuer to issuers, and name it in token_issuer",
    Reason.EXCHANGE_TOKEN_FOREIGN: "set subject_claim to a claim of the user that both have, or token_issuer",
    Reason.TOKEN_MALFORMED: "the token must be a JWT; opaque tokens cannot be verified, nor used at STS",
}

CLOSE_AFTER = 60.0
"""Seconds until an exchange ends that is not configured any more: longer than any request waits."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProviderExchange:
    """The exchange at the provider of one issuer.

    Attributes:
        source_key: what endpoint and calls were built from; after a reload, those with an equal one stay.
    """

    issuer: str
    endpoint: TokenEndpoint = field(repr=False)
    calls: GuardedCalls = field(repr=False)
    source_key: Hashable = field(default=None, repr=False)

    def close(self) -> None:
        """Exchange no more; what runs ends by itself."""
        self.calls.close()
        self.endpoint.close()


class TokenExchanges:
    """The exchanges of all issuers that have one. Belongs to one event loop.

    Args:
        clock: the time that judges tokens.
        on_unusable: called with issuer, outcome, code and 0 seconds for each token that is not accepted.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        on_unusable: Callable[[str, str, str, float], None] = lambda _issuer, _outcome, _code, _seconds: None,
    ) -> None:
        self._clock = clock
        self._on_unusable = on_unusable
        self._verifier: Verifier | None = None
        self._exchanges: Mapping[str, ProviderExchange] = {}

    def apply(self, exchanges: Mapping[str, ProviderExchange], verifier: Verifier) -> None:
        """Go by another configuration from now on."""
        kept = {exchange.calls for exchange in exchanges.values()}
        for exchange in self._exchanges.values():
            if exchange.calls not in kept:
                # Requests may wait for it.
                asyncio.get_running_loop().call_later(CLOSE_AFTER, exchange.close)
        self._exchanges, self._verifier = exchanges, verifier

    @property
    def breakers(self) -> dict[str, int]:
        """The state of each circuit breaker, by issuer."""
        return {issuer: exchange.calls.breaker.state for issuer, exchange in self._exchanges.items()}

    @property
    def waiting(self) -> int:
        """Number of exchanges under way or queued."""
        return sum(exchange.calls.waiting for exchange in self._exchanges.values())

    def applies_to(self, identity: Identity) -> bool:
        """Return whether the tokens of an identity's issuer are exchanged."""
        return identity.issuer in self._exchanges

    async def exchange(self, identity: Identity, unverified_token: str) -> WebIdentityToken:
        """Exchange a user's token at the provider, and verify what comes back.

        Raises:
            Denied: with a reason of the token exchange, ``KEYS_UNAVAILABLE`` or ``CONFIGURATION_CHANGED``.
        """
        exchange, verifier = self._exchanges.get(identity.issuer), self._verifier
        if exchange is None or verifier is None:
            raise Denied(Reason.CONFIGURATION_CHANGED, "the issuer's tokens are not exchanged any more")
        answer = await exchange.calls.call(
            identity.owner,
            lambda until: exchange.endpoint.exchange(unverified_token, until),
            {"issuer": identity.issuer},
        )
        try:
            other = await verifier.verify_exchanged(identity, answer)
        except Denied as denied:
            if denied.reason in (Reason.KEYS_UNAVAILABLE, Reason.CONFIGURATION_CHANGED):
                raise
            raise self._unusable(identity.issuer, denied) from None
        return WebIdentityToken(
            token=answer,
            obtained_at=self._clock(),
            expires_at=min(identity.expires_at, other.expires_at),
            config_digest=identity.config_digest,
        )

    def _unusable(self, issuer: str, cause: Denied) -> Denied:
        advice = _ADVICE.get(cause.reason)
        detail = f"the exchanged token is not accepted: {cause}{f'; {advice}' if advice else ''}"
        denied = Denied(Reason.TOKEN_EXCHANGE_MISCONFIGURED, detail, code=UNUSABLE_TOKEN)
        self._on_unusable(issuer, denied.reason.value, denied.code, 0.0)
        _log.error(SERVICE.failed, reason=denied.reason.value, detail=detail, issuer=issuer)
        return denied

    def close(self) -> None:
        """Exchange no more."""
        for exchange in self._exchanges.values():
            exchange.close()
