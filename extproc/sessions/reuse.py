"""Reuse of credentials by the next token of the same identity, if the configuration allows it."""

import hashlib
import json
import threading
from typing import NewType

from extproc.sessions.session import Granted, LiveCredentials, Session
from extproc.sessions.table import SessionTable
from extproc.values import Credentials, Grant, Identity, TokenDigest

IdentityFingerprint = NewType("IdentityFingerprint", bytes)

_VOLATILE = frozenset(
    {"exp", "iat", "nbf", "jti", "auth_time", "nonce", "at_hash", "c_hash", "s_hash", "uti", "aio", "rh"}
)
"""Claims that differ in every token and do not describe the user."""


def fingerprint(identity: Identity) -> IdentityFingerprint:
    """Return the SHA-256 digest of the issuer and all claims that are not volatile, in canonical JSON.

    Strict on purpose: session tags, source identity, audiences, ``azp``, ``amr`` and whatever policy may
    read are all in it, so a difference in any of them is another identity.
    """
    lasting = {name: value for name, value in identity.claims.items() if name not in _VOLATILE}
    document = json.dumps(
        [identity.issuer, identity.subject, lasting], sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return IdentityFingerprint(hashlib.sha256(document.encode("ascii")).digest())


class Reuse:
    """Finds living credentials of an identity under an earlier token. Belongs to the event loop."""

    def __init__(self, sessions: SessionTable, *, max_entries: int) -> None:
        self._sessions = sessions
        from cachetools import LRUCache  # noqa: PLC0415 - few servers reuse credentials

        self._holders: LRUCache[tuple[IdentityFingerprint, Grant], TokenDigest] = LRUCache(max_entries)
        self._refused: LRUCache[str, bool] = LRUCache(max_entries)
        self._lock = threading.Lock()  # of what AWS refused: responses come in any thread

    def note(self, session: Session, granted: Granted) -> None:
        """Remember which session holds an identity's credentials under a grant."""
        self._holders[fingerprint(session.identity), granted.grant] = session.digest

    def refuse(self, credentials: Credentials) -> None:
        """Reuse these for no further token: AWS refused them. For any thread."""
        with self._lock:
            self._refused[credentials.access_key_id] = True

    def find(self, session: Session, granted: Granted, now: float) -> LiveCredentials | None:
        """Return what another session of the same identity holds now under an equal grant."""
        digest = self._holders.get((fingerprint(session.identity), granted.grant))
        held = self._sessions.held(digest, granted.grant) if digest is not None else None
        if held is None or now >= held[2].ends_at:
            return None
        live = held[2]
        with self._lock:
            return None if live.credentials.access_key_id in self._refused else live
