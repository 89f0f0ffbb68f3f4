"""Revocations as replicas share them: sealed with the server secret, and found by what they select.

Whoever can write to the store can make replicas that start forget a revocation, by removing it. It cannot
make one up, change one, or bring back an older one: replicas keep the newest that they have seen.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from extproc.sessions.revocation import Selector
from extproc.shared_store import sealing
from extproc.shared_store.keys import ServerKeys
from extproc.values import Grant, Identity

LONGEST_SESSION = 12 * 3600.0
"""Seconds: the longest that credentials live, whatever a role's maximum is.
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html"""


@dataclass(frozen=True, slots=True)
class SharedRevocation:
    """A revocation, or that one was taken back. Times in seconds since the epoch.

    Attributes:
        revoked_at: credentials obtained until then are not taken from the store.
        deny_until: until when the selected users are refused; None if they are not.
        changed_at: when it was made or taken back: of two with equal selectors the later one counts.
    """

    selector: Selector
    revoked_at: float
    deny_until: float | None
    changed_at: float

    @property
    def over_at(self) -> float:
        """When it makes no difference any more."""
        return max(self.deny_until or 0.0, self.revoked_at + LONGEST_SESSION)

    def name(self, keys: ServerKeys) -> str:
        """Return its name in the store: equal selectors have equal names."""
        return keys.name(b"revocation", json.dumps(dataclasses.astuple(self.selector)).encode())

    def seal(self, keys: ServerKeys) -> bytes:
        """Return it sealed under its name.

        Raises:
            TooLargeError: the selector is longer than a token may be.
        """
        content = json.dumps(dataclasses.astuple(self)).encode()
        return sealing.seal(content, key=keys.revocations, key_id=keys.key_id, name=self.name(keys))


def unseal(keys: Sequence[ServerKeys], name: str, sealed: bytes) -> SharedRevocation | None:
    """Return a revocation; None for what was not sealed with one of the secrets under this name."""
    key_id = sealing.key_id_of(sealed)
    for each in keys:
        if each.key_id == key_id:
            content = sealing.unseal(sealed, key=each.revocations, key_id=key_id, name=name)
            if content is not None:
                selector, *times = json.loads(content)
                return SharedRevocation(Selector(*selector), *times)
    return None


class RevocationTable:
    """The newest revocation of each selector."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[str, str], dict[Selector, SharedRevocation]] = {}

    def __iter__(self) -> Iterator[SharedRevocation]:
        return (each for place in self._by_place.values() for each in list(place.values()))

    def get(self, selector: Selector) -> SharedRevocation | None:
        """Return the revocation with exactly these conditions."""
        return self._by_place.get(_place(selector), {}).get(selector)

    def add(self, revocation: SharedRevocation) -> bool:
        """Keep a revocation; return False if an equal or later one of its selector is known."""
        known = self.get(revocation.selector)
        if known is not None and known.changed_at >= revocation.changed_at:
            return False
        self._by_place.setdefault(_place(revocation.selector), {})[revocation.selector] = revocation
        return True

    def remove(self, revocation: SharedRevocation) -> None:
        """Forget a revocation that is over."""
        place = _place(revocation.selector)
        del self._by_place[place][revocation.selector]
        if not self._by_place[place]:
            del self._by_place[place]

    def revoked_at(self, identity: Identity, grant: Grant) -> float:
        """Return when an identity's credentials under a grant were last revoked; 0.0 if never."""
        if not self._by_place:
            return 0.0
        places = {
            ("jti", str(identity.claims.get("jti"))),
            ("sub", identity.subject),
            ("iss", identity.issuer),
            ("role", grant.role_arn),
            ("role", grant.assumed_role_arn),
        }
        return max(
            (
                each.revoked_at
                for place in places
                for selector, each in self._by_place.get(place, {}).items()
                if selector.matches_identity(identity) and selector.matches_grant(grant)
            ),
            default=0.0,
        )


def _place(selector: Selector) -> tuple[str, str]:
    """Return the one condition by which a selector is found, however many others it has."""
    for kind, value in (
        ("jti", selector.token_id),
        ("sub", selector.subject),
        ("iss", selector.issuer),
        ("role", selector.role_arn),
    ):
        if value is not None:
            return kind, value
    raise ValueError("a revocation selects by one condition at least")
