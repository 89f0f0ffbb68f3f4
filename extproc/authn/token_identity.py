"""Identities that have their claims in the token itself, which sessions keep anyway."""

from collections.abc import Mapping
from dataclasses import fields

from extproc.authn.token import claims_of
from extproc.values import Identity, InMemoryOnly

_READ_AT_ONCE = tuple(each.name for each in fields(Identity) if each.name != "claims")


class TokenIdentity(InMemoryOnly, Identity):
    """An identity whose claims are parsed from its verified token each time they are read.

    A session keeps its token to renew credentials, and its claims are read for new decisions and the admin
    API only. As objects they were a quarter of a session. Since it refers to the token, nothing may keep it
    for longer than the session and requests under way.

    Args:
        identity: what was verified.
        token: the very token.
    """

    __slots__ = ("_token",)
    _token: str

    def __init__(self, identity: Identity, token: str) -> None:
        for name in _READ_AT_ONCE:
            object.__setattr__(self, name, getattr(identity, name))
        object.__setattr__(self, "_token", token)

    @property
    def claims(self) -> Mapping[str, object]:
        """All claims, newly parsed."""
        return claims_of(self._token)

    def loaded(self) -> Identity:
        """Return the identity with its claims in memory, and without the token."""
        return Identity(
            self.issuer,
            self.subject,
            self.expires_at,
            self.claims,
            self.key_thumbprint,
            self.exchange_key_thumbprint,
            self.config_digest,
        )
