"""The role session name: how CloudTrail will call the person.

STS allows 2 to 64 of ``[A-Za-z0-9_+=,.@-]``. Whatever else is in the claim is replaced,
and whenever anything was changed a short hash of issuer, subject and claim is added, so that
cleaning never puts two people under one name. A claim that looks as if it had such a hash
gets another one: nobody can ask for somebody else's changed name. That the claim itself tells
people apart is for the identity provider to see to.
"""

import hashlib
import re

MIN_LENGTH = 2
MAX_LENGTH = 64
_HASH_LENGTH = 10  # hex digits: 40 bits, for telling people apart in a log
_HASHED = re.compile(rf".*-[0-9a-f]{{{_HASH_LENGTH}}}", re.DOTALL)
_FORBIDDEN = re.compile(r"[^\w+=,.@-]", re.ASCII)


class InvalidNameError(ValueError):
    """A name that STS would not take."""


def strict_session_name(wanted: str) -> str:
    """``wanted`` if STS takes it as it is; raises ``InvalidNameError`` if not."""
    if _FORBIDDEN.search(wanted):
        raise InvalidNameError("has characters that STS does not take")
    if not MIN_LENGTH <= len(wanted) <= MAX_LENGTH:
        raise InvalidNameError(f"is not {MIN_LENGTH} to {MAX_LENGTH} characters long")
    return wanted


def session_name(wanted: str, *, issuer: str, subject: str) -> str:
    """``wanted`` made fit for STS; unchanged if it already is."""
    cleaned = _FORBIDDEN.sub("-", wanted)
    if cleaned == wanted and MIN_LENGTH <= len(wanted) <= MAX_LENGTH and not _HASHED.fullmatch(wanted):
        return wanted
    # Lengths make the encoding unambiguous.
    owner = f"{len(issuer)}:{issuer}{len(subject)}:{subject}{wanted}"
    suffix = hashlib.sha256(owner.encode("utf-8")).hexdigest()[:_HASH_LENGTH]
    return f"{cleaned[: MAX_LENGTH - _HASH_LENGTH - 1]}-{suffix}"
