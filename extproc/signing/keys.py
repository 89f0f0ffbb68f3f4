"""Derived signing keys, kept as long as the credentials they come from and no longer."""

from weakref import WeakKeyDictionary

from extproc.signing.sigv4 import Scope, signing_key
from extproc.values import Credentials


class SigningKeys:
    """One key for each credentials, day, region and service.

    A key goes with its credentials: when a session is evicted or ends, nothing here keeps
    its secret. A new day throws the old one's keys away.
    """

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: WeakKeyDictionary[Credentials, dict[tuple[str, Scope], bytes]] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, credentials: Credentials, date: str, scope: Scope) -> bytes:
        """The key of one day; ``date`` as YYYYMMDD."""
        keys = self._keys.get(credentials)
        if keys is None:
            keys = self._keys.setdefault(credentials, {})
        key = keys.get((date, scope))
        if key is None:
            # Kept beyond midnight by a few requests whose clock was read before it, at most.
            for old in [entry for entry in keys if entry[0] != date]:
                del keys[old]
            key = keys[date, scope] = signing_key(credentials.secret_access_key, date, scope)
        return key
