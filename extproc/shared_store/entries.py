"""An entry: what one token has under one grant, as the store knows it.

The name depends on the whole grant and on where it is exchanged, so equal names mean the same exchange. The
key comes from the token itself: without it a value does not open, whoever holds the store and the server
secret.
"""

import dataclasses
import json
from collections.abc import Sequence

from extproc.sessions.sharing import Obtained
from extproc.shared_store import sealing
from extproc.shared_store.keys import ServerKeys, derive
from extproc.values import Credentials, Grant, TokenDigest


class Entry:
    """The names and the seal of one token's credentials under one grant.

    Args:
        keys: of the server secrets, the present one first.
        digest: of all tokens of the session.
        unverified_token: the user's, from which the seal's key comes.
        exchange_site: where and how tokens are exchanged.
    """

    def __init__(
        self,
        keys: Sequence[ServerKeys],
        *,
        digest: TokenDigest,
        unverified_token: str,
        grant: Grant,
        exchange_site: str,
    ) -> None:
        described = json.dumps(dataclasses.asdict(grant), sort_keys=True).encode()
        self._named = {each.name(digest, described, exchange_site.encode()): each for each in keys}
        self._token = unverified_token.encode()
        self.names = tuple(self._named)
        """The present name first."""

    def seal(self, shared: Obtained) -> bytes:
        """Return credentials sealed under the present name.

        Raises:
            TooLargeError: they fit no size.
        """
        name = self.names[0]
        held = shared.credentials
        content = json.dumps(
            [
                held.access_key_id,
                held.secret_access_key,
                held.session_token,
                held.expires_at,
                shared.obtained_at,
                shared.token_ends_at,
            ]
        )
        key_id = self._named[name].key_id
        return sealing.seal(content.encode(), key=self._key(name), key_id=key_id, name=name)

    def unseal(self, name: str, sealed: bytes) -> Obtained | None:
        """Return what was sealed under one of the names; None for anything else."""
        content = sealing.unseal(sealed, key=self._key(name), key_id=self._named[name].key_id, name=name)
        if content is None:
            return None
        # It was written by a replica that held the token and the secret, so its form needs no check.
        access_key_id, secret, session_token, expires_at, *times = json.loads(content)
        return Obtained(Credentials(access_key_id, secret, session_token, expires_at), *times)

    def _key(self, name: str) -> bytes:
        return derive(self._token, salt=self._named[name].salt, info=b"credentials " + name.encode())
