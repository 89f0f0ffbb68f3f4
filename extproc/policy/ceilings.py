"""Ceilings: what an agent may do at most, whoever it acts for (ToolHive RFC THV-0033).

A ceiling caps the mapping (``max_mapping``: the one of the two that comes later in order of
priority counts) or scopes the session down. STS unites a mapping's session policies with
further ones instead of intersecting them, so both at once cannot be granted.
"""

from dataclasses import dataclass

from extproc.policy.matchers import Matcher
from extproc.policy.session_policy import UNRESTRICTED, SessionPolicy
from extproc.scopes import NO_SCOPES, RequiredScopes


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One ceiling: either ``max_mapping`` (a mapping's name) or ``session_policy``.

    ``issuers``: of whose tokens; None: of all. ``require_scopes``: whoever has them is not capped.
    """

    name: str
    matcher: Matcher
    priority: int | None = None
    issuers: frozenset[str] | None = None
    max_mapping: str | None = None
    session_policy: SessionPolicy = UNRESTRICTED
    message: str = ""  # what a client reads that is denied because of it
    require_scopes: RequiredScopes = NO_SCOPES
