"""Revocations as replicas share them: sealed with the server secret, and found by what they select.

Whoever can write to the store can remove a revocation, or put an older form of it back. No replica that knows
it forgets it for that, and each puts it back. Without the server secret none can be made up or changed.
"""

import dataclasses
import json
import math
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
    """All that happened to the users and credentials of one selector. Times in seconds since the epoch.

    Two replicas may change one at the same time. So none replaces another: they are merged, and what refuses
    more is kept.

    Attributes:
        revoked_at: credentials obtained until then are not taken from the store; 0.0 if none were revoked.
        kept_until: until then it is kept: an older one that is put back into the store changes nothing.
        denied_at: when the users were last refused; 0.0 if never.
        denied_until: until when, unless that was lifted.
        lifted_at: when refusals from before were last taken back; 0.0 if never.
    """

    selector: Selector
    revoked_at: float
    kept_until: float
    denied_at: float = 0.0
    denied_until: float = 0.0
    lifted_at: float = 0.0

    @property
    def deny_until(self) -> float | None:
        """Until when the selected users are refused; None if they are not."""
        return self.denied_until if self.denied_at > self.lifted_at else None

    @property
    def is_lifted(self) -> bool:
        """Whether a refusal was taken back, and there was none since."""
        return self.lifted_at > 0 and self.deny_until is None

    def revoked(self, now: float, *, deny_until: float | None) -> "SharedRevocation":
        """Return what it is after a revocation now; None for ``deny_until`` leaves an earlier refusal."""
        kept_until = now + LONGEST_SESSION
        if deny_until is None:
            return self.merged(SharedRevocation(self.selector, now, kept_until))
        # The clock of the replica that lifted the last refusal may be ahead.
        denied_at = max(now, math.nextafter(self.lifted_at, math.inf))
        kept_until = max(kept_until, deny_until)
        return self.merged(SharedRevocation(self.selector, now, kept_until, denied_at, deny_until))

    def lifted(self, now: float) -> "SharedRevocation":
        """Return what it is after refusals were taken back now. Credentials stay revoked."""
        lifted_at = max(now, self.denied_at)
        return self.merged(SharedRevocation(self.selector, 0.0, now + LONGEST_SESSION, lifted_at=lifted_at))

    def merged(self, other: "SharedRevocation") -> "SharedRevocation":
        """Return what both say together."""
        lifted_at = max(self.lifted_at, other.lifted_at)
        refusals = [each for each in (self, other) if each.denied_at > lifted_at]
        return SharedRevocation(
            self.selector,
            max(self.revoked_at, other.revoked_at),
            max(self.kept_until, other.kept_until),
            max((each.denied_at for each in refusals), default=0.0),
            max((each.denied_until for each in refusals), default=0.0),
            lifted_at,
        )

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
                # Whoever wrote it has the server secret, so its form needs no check.
                selector, *times = json.loads(content)
                return SharedRevocation(Selector(*selector), *times)
    return None


class RevocationTable:
    """The revocations that are known, by their selectors."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[str, str], dict[Selector, SharedRevocation]] = {}

    def __iter__(self) -> Iterator[SharedRevocation]:
        return (each for place in self._by_place.values() for each in list(place.values()))

    def get(self, selector: Selector) -> SharedRevocation:
        """Return the revocation with exactly these conditions; one of nothing if there is none."""
        known = self._by_place.get(_place(selector), {}).get(selector)
        return known if known is not None else SharedRevocation(selector, 0.0, 0.0)

    def put(self, revocation: SharedRevocation) -> None:
        """Replace what is known of its selector."""
        self._by_place.setdefault(_place(revocation.selector), {})[revocation.selector] = revocation

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
            ("jti", identity.token_id or ""),
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
