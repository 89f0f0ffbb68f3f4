"""OAuth scopes: those of a token, which ones include others, and which ones a client must request.

Scopes are opaque strings (RFC 6749 3.3): ``aws:*`` includes ``aws:read`` only if the configuration says so.
The scopes that satisfy each requirement are computed when the configuration loads, so that a check is one
set operation for each required scope.
"""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any


def granted_scopes(claims: Mapping[str, Any]) -> set[str]:
    """Return the scopes in ``scope`` (RFC 9068 2.2.3) and ``scp``, a string (Entra ID) or a list (Okta).

    A value of another type grants nothing.
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
    """Scopes that a token needs, each directly or by one that includes it. False if there are none.

    Attributes:
        names: the scopes, in the order of the configuration.
        sufficient: for each of them, the scopes that satisfy it.
        named: all scopes that the configuration names; see ``to_ask_for``.
    """

    names: tuple[str, ...]
    sufficient: tuple[frozenset[str], ...] = field(repr=False)
    named: tuple[str, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        """Return whether any scope is required."""
        return bool(self.names)

    def __str__(self) -> str:
        """Return the scopes in the format of ``scope`` parameters (RFC 6749 3.3)."""
        return " ".join(self.names)

    def missing(self, granted: AbstractSet[str]) -> tuple[str, ...]:
        """Return the required scopes that ``granted`` does not cover."""
        return tuple(
            name
            for name, enough in zip(self.names, self.sufficient, strict=True)
            if enough.isdisjoint(granted)
        )

    def to_ask_for(self, granted: AbstractSet[str], missing: Collection[str]) -> tuple[str, ...]:
        """Return the scopes with which the request would be granted: the token's and the missing ones.

        In MCP 2026-07-28 the challenge has the scopes that the operation needs, and clients keep those that
        they have. Clients of 2025-11-25 request exactly the scopes in the challenge and would lose the rest.
        Only scopes of the token that the configuration names are repeated: others do not concern this
        resource, and a token may contain any characters.
        """
        in_order = (name for name in self.named if name in granted or name in missing)
        return tuple(dict.fromkeys((*in_order, *missing)))


NO_SCOPES = RequiredScopes((), ())
"""Nothing is required."""


class ScopeHierarchyError(ValueError):
    """A scope includes itself. ``path`` leads from the scope back to itself."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(f"{path[0]} includes itself: {' > '.join(path)}")
        self.path = path


class ScopeHierarchy:
    """The scopes that include others.

    Args:
        includes: by scope: the scopes that it includes, and by them all that they include.
        named: further scopes that the configuration names.

    Raises:
        ScopeHierarchyError: a scope includes itself, directly or not.
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


def missing_text(missing: Iterable[str]) -> str:
    """Return the client's text for missing scopes, which come from the configuration."""
    return f"The access token lacks the scope {' '.join(dict.fromkeys(missing))}."


def _included(scope: str, direct: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Return all scopes that a scope includes. Not recursive: a chain may have any length."""
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
