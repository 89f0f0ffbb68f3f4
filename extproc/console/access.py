"""Who may look, who may act, and who may see the values of claims."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from extproc.config import Console
from extproc.grpc_server.clients import AllowedClients, AuthContext, names
from extproc.policy.cel import BoolExpression, Budget, EvaluationError, to_cel
from extproc.policy.matchers import token_matcher

CERTIFICATE, SOCKET = "certificate", "unix socket"
"""Where a user comes from who did not log in at an issuer."""


@dataclass(frozen=True, slots=True)
class User:
    """A person who may look.

    Attributes:
        source: the issuer of the ID token, ``CERTIFICATE`` or ``SOCKET``.
        subject: the ``sub``, the certificate's name, or ``console.socket_user``.
        name: the subject for people.
    """

    source: str
    subject: str
    name: str
    may_act: bool = False
    may_see_claims: bool = False


class Access:
    """The rules of ``console``, compiled. What they do not allow is refused."""

    def __init__(self, console: Console) -> None:
        self._look = _compiled(console.matcher)
        self._act = _compiled(console.act_matcher)
        self._claims = _compiled(console.claims_matcher)
        looking = console.tls.allowed_clients if console.tls is not None else []
        self._clients = AllowedClients([*looking, *console.act_clients, *console.claims_clients])
        self._act_clients = AllowedClients(console.act_clients)
        self._claims_clients = AllowedClients(console.claims_clients)

    def of_claims(self, issuer: str, claims: Mapping[str, Any]) -> User | None:
        """Return the user of a verified ID token; None if the user may not look."""
        if not _matches(self._look, claims):
            return None
        subject = str(claims["sub"])
        name = claims.get("preferred_username") or claims.get("email") or subject
        return User(
            issuer,
            subject,
            name if isinstance(name, str) else subject,
            may_act=_matches(self._act, claims),
            may_see_claims=_matches(self._claims, claims),
        )

    def of_certificate(self, peer: AuthContext) -> User | None:
        """Return the user of a client certificate that TLS has verified; None if it may not look."""
        if not self._clients.admit(peer):
            return None
        name = next(iter(names(peer)))
        return User(
            CERTIFICATE,
            name,
            name,
            may_act=self._act_clients.admit(peer),
            may_see_claims=self._claims_clients.admit(peer),
        )


def of_socket(name: str) -> User:
    """Return the user of a Unix socket: its owner, who can do as much with the admin API."""
    return User(SOCKET, name, name, may_act=True, may_see_claims=True)


def _compiled(source: str | None) -> BoolExpression | None:
    return None if source is None else token_matcher(source)


def _matches(condition: BoolExpression | None, claims: Mapping[str, Any]) -> bool:
    """Return whether the condition certainly holds; a missing claim, or an error, is a "no"."""
    if condition is None:
        return False
    budget = Budget()
    try:
        return condition.matches({"claims": to_cel(dict(claims), budget)}, budget)
    except EvaluationError:
        return False
