"""The token that STS gets for a session: the user's own, or one that the identity provider gives for it.

An exchanged token belongs to its session, is shared by all that it is granted, and never leaves memory.
"""

from typing import Protocol

from extproc.caching.single_flight import SingleFlight
from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.sessions.session import Session
from extproc.values import Identity, WebIdentityToken

USED_FOR = 0.8
"""The share of an exchanged token's life in which credentials are obtained with it: they end with it."""

DEFINITE = frozenset(
    {
        Reason.TOKEN_EXCHANGE_REFUSED,
        Reason.TOKEN_EXCHANGE_INTERACTION,
        Reason.TOKEN_EXCHANGE_CONSENT,
        Reason.TOKEN_EXCHANGE_DENIED,
        Reason.TOKEN_EXCHANGE_MISCONFIGURED,
    }
)
"""Reasons that a retry would not change."""


class TokenExchange(Protocol):
    """Exchanges users' tokens at their identity providers."""

    def applies_to(self, identity: Identity) -> bool:
        """Return whether the tokens of an identity's issuer are exchanged."""
        ...

    async def exchange(self, identity: Identity, unverified_token: str) -> WebIdentityToken:
        """Exchange a user's token; raises ``Denied``."""
        ...


class WebIdentities:
    """Finds or obtains the tokens for STS. Belongs to one event loop.

    Args:
        exchange: None if no issuer's tokens are exchanged.
        negative_ttl: seconds for which a definite refusal of the provider is remembered.
    """

    def __init__(self, exchange: TokenExchange | None, *, clock: Clock, negative_ttl: float) -> None:
        self._exchange = exchange
        self._clock = clock
        self._negative_ttl = negative_ttl
        self._exchanging: SingleFlight[tuple[Session, bytes], WebIdentityToken] = SingleFlight()

    async def obtain(self, session: Session, *, newer_than: float) -> WebIdentityToken:
        """Return a token for STS, or join an exchange under way.

        ``newer_than``: when the credentials that are to be renewed were obtained: with the same token they
        would end no later.

        Raises:
            Denied: by the identity provider, or at once if a refusal is remembered.
        """
        identity = session.identity
        exchange = self._exchange
        if exchange is None or not exchange.applies_to(identity):
            return WebIdentityToken(session.unverified_web_identity_token, newer_than, identity.expires_at)
        held = session.exchanged
        if (
            held is not None
            and held.config_digest == identity.config_digest
            and held.obtained_at > newer_than
        ):
            used_until = held.obtained_at + USED_FOR * (held.expires_at - held.obtained_at)
            if self._clock() < used_until:
                return held
        if session.exchange_refusal is not None:
            denied, until = session.exchange_refusal
            if self._clock() < until:
                raise Denied(denied.reason, f"{denied.detail} (remembered)", code=denied.code)
            session.exchange_refusal = None
        flight = session, identity.config_digest
        return await self._exchanging.join(flight, lambda: self._obtain(exchange, session, identity))

    @staticmethod
    def forget(session: Session) -> None:
        """Use an exchanged token no more: STS refused it."""
        session.exchanged = None

    async def _obtain(
        self, exchange: TokenExchange, session: Session, identity: Identity
    ) -> WebIdentityToken:
        try:
            obtained = await exchange.exchange(identity, session.unverified_web_identity_token)
        except Denied as denied:
            if denied.reason in DEFINITE:
                # One that is never raised: its traceback would keep the request.
                session.exchange_refusal = denied.anew(), self._clock() + self._negative_ttl
            raise
        if not session.ended:
            session.exchanged = obtained
        return obtained
