"""The role session name: the user's name in CloudTrail.

STS allows 2 to 64 characters of ``[A-Za-z0-9_+=,.@-]``. Other characters of the claim are replaced. A
changed name gets a short hash of issuer, subject and claim as its suffix, so that two users never share
a changed name. A claim that already ends like such a hash gets another one, so that no user can claim the
changed name of another. Not ensured: that the claim itself differs between users, which is up to the
identity provider.
"""

import hashlib
import re

MIN_LENGTH = 2
MAX_LENGTH = 64
_HASH_LENGTH = 10  # hex digits: 40 bits suffice to tell users apart in a log
_HASHED = re.compile(rf".*-[0-9a-f]{{{_HASH_LENGTH}}}", re.DOTALL)
_FORBIDDEN = re.compile(r"[^\w+=,.@-]", re.ASCII)


class InvalidNameError(ValueError):
    """A name that STS does not accept."""


def strict_session_name(wanted: str) -> str:
    """Return ``wanted`` if STS accepts it unchanged; raises ``InvalidNameError`` otherwise."""
    if _FORBIDDEN.search(wanted):
        raise InvalidNameError("has characters that STS does not accept")
    if not MIN_LENGTH <= len(wanted) <= MAX_LENGTH:
        raise InvalidNameError(f"is not {MIN_LENGTH} to {MAX_LENGTH} characters long")
    return wanted


def session_name(wanted: str, *, issuer: str, subject: str) -> str:
    """Return ``wanted``, changed only as far as STS requires."""
    cleaned = _FORBIDDEN.sub("-", wanted)
    if cleaned == wanted and MIN_LENGTH <= len(wanted) <= MAX_LENGTH and not _HASHED.fullmatch(wanted):
        return wanted
    # The lengths make the concatenation unambiguous.
    owner = f"{len(issuer)}:{issuer}{len(subject)}:{subject}{wanted}"
    suffix = hashlib.sha256(owner.encode("utf-8")).hexdigest()[:_HASH_LENGTH]
    return f"{cleaned[: MAX_LENGTH - _HASH_LENGTH - 1]}-{suffix}"
