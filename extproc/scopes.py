"""OAuth scopes: what a token has, which scope includes which, and what a client is to ask for.

Scopes are opaque strings (RFC 6749 3.3): ``aws:*`` includes ``aws:read`` only if the configuration says so.
Which scopes are enough for each requirement is worked out when the configuration loads, so that asking
whether a token has them is one set operation for each required scope.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any


def granted_scopes(claims: Mapping[str, Any]) -> set[str]:
    """Return the scopes in ``scope`` (RFC 9068 2.2.3) and ``scp``, a string (Entra ID) or a list (Okta).

    Anything of another type grants nothing.
    """
    granted: set[str] = set()
    scope, scp = claims.get("scope"), claims.get("scp")
    for value in (scope, scp):
        if isinstance(value, str):
            granted.update(value.split(" "))
    if isinstance(scp, list):
        granted.update(value for value in scp if isinstance(value, str))
    return granted


@dataclass(frozen=True, slots=True)
class RequiredScopes:
    """Scopes that must all be there, each itself or by one that includes it. False if there are none.

    Attributes:
        names: the scopes, in the order of the configuration.
        sufficient: for each of them, the scopes of which one is enough.
        named: all scopes that the configuration names; see ``to_ask_for``.
    """

    names: tuple[str, ...]
    sufficient: tuple[frozenset[str], ...] = field(repr=False)
    named: tuple[str, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        """Return whether any scope is required."""
        return bool(self.names)

    def __str__(self) -> str:
        """Return the scopes as ``scope`` parameters have them (RFC 6749 3.3)."""
        return " ".join(self.names)

    def missing(self, granted: AbstractSet[str]) -> tuple[str, ...]:
        """Return the required scopes that ``granted`` does not cover."""
        return tuple(
            name
            for name, enough in zip(self.names, self.sufficient, strict=True)
            if enough.isdisjoint(granted)
        )

    def to_ask_for(self, granted: AbstractSet[str], missing: Collection[str]) -> tuple[str, ...]:
        """Return the scopes with which the request would be granted: those had already, and those missing.

        MCP 2026-07-28 asks for the scopes that the operation needs, and leaves it to clients to keep what
        they had; clients of 2025-11-25 ask for exactly what the challenge names, and would lose the rest.
        Of the token's scopes only those that the configuration names are repeated: the others are nothing
        to this resource, and a token can hold whatever characters it likes.
        """
        in_order = (name for name in self.named if name in granted or name in missing)
        return tuple(dict.fromkeys((*in_order, *missing)))


NO_SCOPES = RequiredScopes((), ())
"""Nothing is required."""


class ScopeHierarchyError(ValueError):
    """A scope includes itself. ``path``: from the scope to itself again."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(f"{path[0]} includes itself: {' > '.join(path)}")
        self.path = path


class ScopeHierarchy:
    """Which scopes include which others.

    Args:
        includes: for a scope those that it includes, and with them all that these include.
        named: further scopes that the configuration names.

    Raises:
        ScopeHierarchyError: a scope includes itself, by whatever way.
    """

    def __init__(
        self, includes: Mapping[str, Iterable[str]] | None = None, named: Iterable[str] = ()
    ) -> None:
        direct = {broad: tuple(narrow) for broad, narrow in (includes or {}).items()}
        sufficient: dict[str, set[str]] = {}
        for broad in direct:
            for narrow in _included(broad, direct):
                sufficient.setdefault(narrow, {narrow}).add(broad)
        self._sufficient = {narrow: frozenset(broader) for narrow, broader in sufficient.items()}
        self._named = tuple(dict.fromkeys((*named, *direct)))

    def sufficient(self, scope: str) -> frozenset[str]:
        """Return the scope itself and all that include it, directly or not."""
        return self._sufficient.get(scope) or frozenset({scope})

    def require(self, scopes: Iterable[str]) -> RequiredScopes:
        """Return the requirement of all ``scopes``."""
        names = tuple(dict.fromkeys(scopes))
        named = tuple(dict.fromkeys((*self._named, *names)))
        return RequiredScopes(names, tuple(self.sufficient(name) for name in names), named)


def told_of(missing: Iterable[str]) -> str:
    """Return what a client reads whose token lacks scopes, which are the configuration's."""
    return f"The access token lacks the scope {' '.join(dict.fromkeys(missing))}."


def _included(scope: str, direct: Mapping[str, tuple[str, ...]]) -> set[str]:
    """All that a scope includes. Depth first without recursion: a chain may be as long as it likes."""
    found: set[str] = set()
    came_by: dict[str, str] = {}
    waiting = [(scope, narrow) for narrow in direct.get(scope, ())]
    while waiting:
        broad, narrow = waiting.pop()
        if narrow == scope:
            path = [scope]
            while broad != scope:
                path.append(broad)
                broad = came_by[broad]
            raise ScopeHierarchyError((scope, *reversed(path)))
        if narrow not in found:
            found.add(narrow)
            came_by[narrow] = broad
            waiting += ((narrow, narrower) for narrower in direct.get(narrow, ()))
    return found
