"""Ending sessions before their time: by whose they are, and for how long nobody like that may come back."""

import json
import time
from dataclasses import dataclass

from extproc.clock import Clock
from extproc.credentials.cache import CredentialCache
from extproc.credentials.sessions import SessionCache
from extproc.values import Grant, Identity, Session

MAX_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Selector:
    """Whose sessions: all conditions given must hold. With none, everybody's."""

    issuer: str | None = None
    subject: str | None = None
    token_id: str | None = None  # jti
    role_arn: str | None = None

    def matches_identity(self, identity: Identity) -> bool:
        """Whether the identity meets the conditions on issuer, subject and token id."""
        return (
            self.issuer in (None, identity.issuer)
            and self.subject in (None, identity.subject)
            and (self.token_id is None or identity.claims.get("jti") == self.token_id)
        )

    def matches(self, session: Session, grant: Grant) -> bool:
        """Whether the session and what it is granted meet all conditions."""
        return self.matches_identity(session.identity) and self.role_arn in (None, grant.role_arn)


class DenyList:
    """Identities that are refused until a time, although their tokens are valid. Bounded."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        # Filed under what a token will show, so that a lookup costs the same however long the list is.
        self._until: dict[tuple[str, str], dict[Selector, float]] = {}
        self._size = 0

    def add(self, selector: Selector, *, until: float) -> None:
        """Refuse whom the selector names until ``until`` (seconds since the epoch).

        Raises:
            ValueError: it names nobody in particular, or the list is full.
        """
        if selector.token_id is not None:
            place = ("jti", selector.token_id)
        elif selector.subject is not None:
            place = ("sub", selector.subject)
        else:
            raise ValueError("a deny list entry needs a subject or a token id")
        if self._size >= MAX_ENTRIES:
            self._sweep()
        if self._size >= MAX_ENTRIES:
            # Forgetting an older entry would let somebody back in.
            raise ValueError("the deny list is full")
        entries = self._until.setdefault(place, {})
        self._size += selector not in entries
        entries[selector] = max(until, entries.get(selector, until))

    def refuses(self, identity: Identity) -> bool:
        """Whether the identity is on the list now."""
        now = self._clock()
        # A jti that is no text names nothing on the list (and might not even be hashable).
        places = (("sub", identity.subject), ("jti", str(identity.claims.get("jti"))))
        return any(
            until > now and selector.matches_identity(identity)
            for place in places
            for selector, until in self._until.get(place, {}).items()
        )

    def _sweep(self) -> None:
        now = self._clock()
        living = {
            place: {selector: until for selector, until in entries.items() if until > now}
            for place, entries in self._until.items()
        }
        self._until = {place: entries for place, entries in living.items() if entries}
        self._size = sum(map(len, self._until.values()))


def revocation_policy(*, issued_before: float) -> str:
    """The inline role policy that ends credentials which were already handed out.

    ``issued_before``: seconds since the epoch. STS credentials cannot be recalled; IAM can
    refuse those issued before an instant:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html
    """
    instant = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(issued_before))
    statement = {
        "Effect": "Deny",
        "Action": ["*"],
        "Resource": ["*"],
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": instant}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a revocation did: sessions dropped, and the policy that ends what AWS has handed out."""

    sessions: int
    role_policy: str


class Revocation:
    """Ends sessions by whose they are, and keeps their owners out if asked to."""

    def __init__(
        self, *, sessions: SessionCache, credentials: CredentialCache, deny_list: DenyList, clock: Clock
    ) -> None:
        self._sessions = sessions
        self._credentials = credentials
        self._deny_list = deny_list
        self._clock = clock

    def refuses(self, identity: Identity) -> bool:
        """Whether the identity is kept out now."""
        return self._deny_list.refuses(identity)

    def revoke(self, selector: Selector, *, deny_until: float | None = None) -> Revoked:
        """Drop the selected sessions with their credentials; with ``deny_until``, keep their owners out.

        Raises:
            ValueError: ``deny_until`` for a selector that names no subject and no token id.
        """
        if deny_until is not None:
            if selector.role_arn is not None:
                raise ValueError("whom to keep out is told by subject or token id, not by role")
            self._deny_list.add(selector, until=deny_until)
        if selector.role_arn is None:
            dropped = self._sessions.drop_where(lambda session: selector.matches_identity(session.identity))
            ended = len(dropped)
            self._credentials.drop_where(selector.matches)
        else:
            # The role is of the grant, not of the session: only its credentials end.
            ended = self._credentials.drop_where(selector.matches)
        return Revoked(ended, revocation_policy(issued_before=self._clock()))
