"""Revocation: end the sessions of selected users, and refuse these users until a time (``DenyList``)."""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from extproc.clock import Clock
from extproc.errors import Denied, Reason
from extproc.sessions.session import Session
from extproc.sessions.table import SessionTable
from extproc.values import Grant, Identity

MAX_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class Selector:
    """Selects sessions: all given conditions must hold. Without conditions it selects all sessions."""

    issuer: str | None = None
    subject: str | None = None
    token_id: str | None = None  # jti
    role_arn: str | None = None

    def matches_identity(self, identity: Identity) -> bool:
        """Return whether the identity meets the conditions on issuer, subject and token id."""
        return (
            self.issuer in (None, identity.issuer)
            and self.subject in (None, identity.subject)
            and (self.token_id is None or identity.token_id == self.token_id)
        )

    def matches_grant(self, grant: Grant) -> bool:
        """Return whether the grant meets the condition on the role; of chained roles either counts."""
        chained = grant.chain.role_arn if grant.chain else None
        return self.role_arn is None or self.role_arn in (grant.role_arn, chained)

    def matches(self, session: Session) -> bool:
        """Return whether the session, and some credentials that it holds, meet all conditions."""
        return self.matches_identity(session.identity) and (
            self.role_arn is None or any(self.matches_grant(granted.grant) for granted, _ in session.living())
        )


class DenyList:
    """Identities that are refused until a time, although their tokens are valid. Bounded.

    ``refuses`` is for any thread, all else for the event loop.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        # By a claim of the token, so that a lookup costs the same however long the list is. The inner
        # mappings are replaced and never changed: other threads read them without a lock.
        self._until: dict[tuple[str, str], Mapping[Selector, float]] = {}
        self._size = 0

    def __len__(self) -> int:
        self._sweep()
        return self._size

    def add(self, selector: Selector, *, until: float) -> None:
        """Refuse selected identities until ``until`` (seconds since the epoch).

        Raises:
            ValueError: the selector has no condition on the identity, or the list is full.
        """
        place = _place(selector)
        if self._size >= MAX_ENTRIES:
            self._sweep()
        if self._size >= MAX_ENTRIES:
            # Evicting an older entry would admit a revoked user.
            raise ValueError("the deny list is full")
        entries = self._until.get(place, {})
        self._size += selector not in entries
        self._until[place] = {**entries, selector: max(until, entries.get(selector, until))}

    def remove(self, selector: Selector) -> bool:
        """Remove the entry with exactly these conditions; return whether there was one."""
        self._sweep()
        place = _place(selector)
        entries = self._until.get(place, {})
        if selector not in entries:
            return False
        self._until[place] = {each: until for each, until in entries.items() if each != selector}
        self._sweep()
        return True

    def entries(self) -> list[tuple[Selector, float]]:
        """Return what is refused, and until when (seconds since the epoch), in the order of the ends."""
        self._sweep()
        living = [entry for entries in self._until.values() for entry in entries.items()]
        return sorted(living, key=lambda entry: entry[1])

    def refuses(self, identity: Identity) -> bool:
        """Return whether the identity is on the list now."""
        return bool(self._entries(identity))

    def refuse(self, identity: Identity) -> None:
        """Refuse an identity that is on the list. Called right before each signature.

        Raises:
            Denied: ``REVOKED`` or, if another token of the same user would pass, ``TOKEN_REVOKED``.
        """
        if self._until and self.refuses(identity):
            token_only = all(selector.token_id is not None for selector in self._entries(identity))
            reason = Reason.TOKEN_REVOKED if token_only else Reason.REVOKED
            raise Denied(reason, "the deny list names this identity")

    def _entries(self, identity: Identity) -> list[Selector]:
        now = self._clock()
        places = (("sub", identity.subject), ("jti", identity.token_id or ""), ("iss", identity.issuer))
        return [
            selector
            for place in places
            for selector, until in self._until.get(place, {}).items()
            if until > now and selector.matches_identity(identity)
        ]

    def _sweep(self) -> None:
        now = self._clock()
        living = {
            place: {selector: until for selector, until in entries.items() if until > now}
            for place, entries in self._until.items()
        }
        self._until = {place: entries for place, entries in living.items() if entries}
        self._size = sum(map(len, self._until.values()))


def _place(selector: Selector) -> tuple[str, str]:
    """Return the claim by which an entry is found.

    Raises:
        ValueError: the selector has no condition on the identity.
    """
    if selector.token_id is not None:
        return "jti", selector.token_id
    if selector.subject is not None:
        return "sub", selector.subject
    if selector.issuer is not None:
        return "iss", selector.issuer
    raise ValueError("a deny list entry needs an issuer, a subject or a token id")


def revocation_policy(*, issued_before: float) -> str:
    """Return the inline role policy that ends credentials which STS has already issued.

    ``issued_before``: seconds since the epoch. STS credentials cannot be revoked; IAM can deny those issued
    before an instant:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_revoke-sessions.html
    """
    # The next whole second: what was issued in this one must not survive.
    instant = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(math.ceil(issued_before)))
    statement = {
        "Effect": "Deny",
        "Action": ["*"],
        "Resource": ["*"],
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": instant}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)


@dataclass(frozen=True, slots=True)
class Revoked:
    """The sessions and credentials that a revocation ended, and the policy that ends them at AWS."""

    sessions: int
    credentials: int
    role_policy: str


class Revocation:
    """Ends the sessions of selected users, and refuses these users if asked to."""

    def __init__(self, *, sessions: SessionTable, deny_list: DenyList, clock: Clock) -> None:
        self._sessions = sessions
        self._deny_list = deny_list
        self._clock = clock

    def revoke(self, selector: Selector, *, deny_until: float | None = None) -> Revoked:
        """End the selected sessions and their credentials; refuse their users until ``deny_until``.

        With a role only credentials end, since a role belongs to the grant and not to the session.

        Raises:
            ValueError: ``deny_until`` with a role, or without a condition on the identity.
        """
        if deny_until is not None:
            if selector.role_arn is not None:
                raise ValueError("the deny list goes by issuer, subject or token id, not by role")
            # First, or a user could open a new session before being on the list.
            self._deny_list.add(selector, until=deny_until)
        sessions = credentials = 0
        for session in self._sessions.values():
            if not selector.matches_identity(session.identity):
                continue
            for granted in session.grants:
                if selector.matches_grant(granted.grant):
                    credentials += self._sessions.end_credentials(session, granted)
            if selector.role_arn is None:
                self._sessions.end(session)
                sessions += 1
        return Revoked(sessions, credentials, revocation_policy(issued_before=self._clock()))
