"""Ceilings: the most that an agent may do, whichever user it acts for (ToolHive RFC THV-0033).

A ceiling caps the mapping (of the matching mapping and ``max_mapping``, the one later in order of
priority is used) or restricts the session. STS unites several session policies instead of intersecting
them, so a mapping and a ceiling that both have one cannot be combined.
"""

from dataclasses import dataclass

from extproc.policy.matchers import Matcher
from extproc.policy.session_policy import UNRESTRICTED, SessionPolicy
from extproc.scopes import NO_SCOPES, RequiredScopes


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One ceiling, with either ``max_mapping`` or ``session_policy``.

    Attributes:
        priority: lower is first; None is last.
        issuers: issuers of the tokens that it applies to; None for all.
        max_mapping: name of a mapping.
        message: what a denied client reads; empty for a constant text.
        require_scopes: tokens with these scopes are not capped.
    """

    name: str
    matcher: Matcher
    priority: int | None = None
    issuers: frozenset[str] | None = None
    max_mapping: str | None = None
    session_policy: SessionPolicy = UNRESTRICTED
    message: str = ""
    require_scopes: RequiredScopes = NO_SCOPES
