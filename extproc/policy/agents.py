"""The variable ``agents``: who acts for the user, as the claim ``act`` says (RFC 8693 4.1).

The outermost ``act`` is the current actor; each further one inside it acted before. Rules that
look at ``claims.act.sub`` alone miss an agent that works through another one.
"""

from collections.abc import Mapping
from typing import Any

MAX_AGENTS = 8
"""Actors of one token. A longer chain is refused, so that nobody hides behind its end."""


class ActError(ValueError):
    """``act`` is not a chain of actors; the message never holds a value of the claims."""


def agents_of(claims: Mapping[str, Any]) -> list[str]:
    """Return ``sub`` of all actors, the current one first; empty if nobody acts for the user.

    Raises:
        ActError: an ``act`` is no object or has no ``sub``, or there are more than ``MAX_AGENTS``.
    """
    agents: list[str] = []
    holder: Mapping[str, Any] = claims
    while "act" in holder:
        if len(agents) == MAX_AGENTS:
            raise ActError(f"act: more than {MAX_AGENTS} actors")
        holder = holder["act"]
        if not isinstance(holder, Mapping):
            raise ActError("act: not an object")
        subject = holder.get("sub")
        if not isinstance(subject, str) or not subject:
            raise ActError("act: an actor without sub")
        agents.append(subject)
    return agents
