"""Which clients may ask for signatures, by the names in their certificates."""

import re
from collections.abc import Iterable, Mapping, Sequence

AuthContext = Mapping[str, Iterable[bytes]]
"""The names in a peer's verified certificate, by kind."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"


class AllowedClients:
    """A closed list of names; one that matches a client's certificate admits it.

    A name with ``://`` equals a URI of the certificate, exactly (SPIFFE IDs are compared so). Any other
    equals a DNS name of it, or begins with ``*.`` for one more label. The subject's common name is
    not read (RFC 9525 2). TLS has already verified the certificate's issuer.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Take the list; an empty one admits no client."""
        self._uris = frozenset(name.encode() for name in names if "://" in name)
        self._dns = re.compile("|".join(_dns_pattern(name) for name in names if "://" not in name) or r"(?!)")

    def admit(self, peer: AuthContext) -> bool:
        """Return whether one of the peer's names is on the list."""
        if any(uri in self._uris for uri in peer.get("peer_uri", ())):
            return True
        return any(
            self._dns.fullmatch(name.decode("latin-1").lower()) is not None
            for name in peer.get("peer_dns", ())
        )


def names(peer: AuthContext) -> list[str]:
    """Return the peer's names, for a log."""
    return [name.decode("latin-1") for kind in ("peer_uri", "peer_dns") for name in peer.get(kind, ())]


def _dns_pattern(name: str) -> str:
    if name.startswith("*."):
        return _LABEL + re.escape(name[1:].lower())
    return re.escape(name.lower())
