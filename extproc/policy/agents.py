"""The variable ``agents``: the actors in the claim ``act`` (RFC 8693 4.1).

The outermost ``act`` is the current actor; each nested one acted before it. Rules that read only
``claims.act.sub`` miss an agent that works through another one.
"""

from collections.abc import Mapping
from typing import Any

MAX_AGENTS = 8
"""Maximum number of actors. A longer chain is refused, so that no actor is left out unseen."""


class ActError(ValueError):
    """``act`` is not a chain of actors. The message never contains a value of the claims."""


def agents_of(claims: Mapping[str, Any]) -> list[str]:
    """Return the ``sub`` of all actors, the current one first; empty if the user acts directly.

    Raises:
        ActError: an ``act`` is not an object or has no ``sub``, or there are more than ``MAX_AGENTS``.
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
