"""Session tags and source identity in tokens (IAM User Guide, "Pass session tags in AWS STS")."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from extproc.demo.sts_wire import StsError

TAGS_CLAIM: Final = "https://aws.amazon.com/tags"
SOURCE_IDENTITY_CLAIM: Final = "https://aws.amazon.com/source_identity"
MAX_TAGS: Final = 50
MAX_TAG_KEY: Final = 128
MAX_TAG_VALUE: Final = 256
_SOURCE_IDENTITY: Final = re.compile(r"(?!aws:)[\w+=,.@-]{2,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SessionClaims:
    """What a token says of its session: tags, those that follow into a chain, and the source identity."""

    tags: Mapping[str, str] = field(default_factory=dict)
    transitive: tuple[str, ...] = ()
    source_identity: str | None = None


NO_SESSION_CLAIMS: Final = SessionClaims()


def read_session_claims(claims: Mapping[str, Any]) -> SessionClaims:
    """Return the session claims of a verified token.

    Raises:
        StsError: ``InvalidIdentityToken`` for claims of another form or beyond the limits.
    """
    document = claims.get(TAGS_CLAIM, {})
    source_identity = claims.get(SOURCE_IDENTITY_CLAIM)
    if source_identity is not None and not (
        isinstance(source_identity, str) and _SOURCE_IDENTITY.fullmatch(source_identity)
    ):
        raise _invalid("source identity")
    if not isinstance(document, dict):
        raise _invalid("session tags")
    stated, transitive = document.get("principal_tags", {}), document.get("transitive_tag_keys", [])
    if not isinstance(stated, dict) or len(stated) > MAX_TAGS or not isinstance(transitive, list):
        raise _invalid("session tags")
    if not all(_is_tag(key, values) for key, values in stated.items()):
        raise _invalid("session tags")
    if not all(isinstance(key, str) and key in stated for key in transitive):
        raise _invalid("transitive tag keys")
    tags = {key: values[0] if isinstance(values, list) else values for key, values in stated.items()}
    return SessionClaims(tags=tags, transitive=tuple(transitive), source_identity=source_identity)


def _is_tag(key: str, values: Any) -> bool:
    """Return whether a tag has a key and exactly one value, both within the limits."""
    listed = values if isinstance(values, list) else [values]
    return (
        1 <= len(key) <= MAX_TAG_KEY
        and len(listed) == 1
        and isinstance(listed[0], str)
        and len(listed[0]) <= MAX_TAG_VALUE
    )


def _invalid(what: str) -> StsError:
    return StsError("InvalidIdentityToken", f"The {what} of the ID Token provided are not valid")
