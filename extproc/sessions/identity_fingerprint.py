"""What makes two tokens of one user the same identity to AWS and to policy."""

import hashlib
import json
from typing import NewType

from extproc.values import Identity

IdentityFingerprint = NewType("IdentityFingerprint", bytes)

_VOLATILE = frozenset(
    {"exp", "iat", "nbf", "jti", "auth_time", "nonce", "at_hash", "c_hash", "s_hash", "uti", "aio", "rh"}
)
"""Claims that differ in every token and say nothing about who it is for."""


def fingerprint(identity: Identity) -> IdentityFingerprint:
    """SHA-256 over issuer and every claim that is not volatile, in canonical JSON.

    Strict on purpose: session tags, source identity, audiences, ``azp``, ``amr`` and
    whatever policy may read are all in it, so a difference in any of them is another identity.
    """
    lasting = {name: value for name, value in identity.claims.items() if name not in _VOLATILE}
    document = json.dumps(
        [identity.issuer, identity.subject, lasting], sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return IdentityFingerprint(hashlib.sha256(document.encode("ascii")).digest())
