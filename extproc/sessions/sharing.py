"""The seam to other replicas: credentials that one of them obtained serve all."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from extproc.sessions.session import Session
from extproc.values import Credentials, Grant, InMemoryOnly


@dataclass(frozen=True, slots=True, eq=False)
class Obtained(InMemoryOnly):
    """Credentials, here or at another replica. Times in seconds since the epoch, by AWS's clock.

    Attributes:
        obtained_at: when STS issued them.
        token_ends_at: the end of the token that they were exchanged for.
    """

    credentials: Credentials
    obtained_at: float
    token_ends_at: float


class Sharing(Protocol):
    """Shares credentials with other replicas."""

    async def obtain(
        self,
        session: Session,
        grant: Grant,
        exchange: Callable[[], Awaitable[Obtained]],
        *,
        newer_than: float,
    ) -> Obtained:
        """Return what a replica obtained, or exchange and share the result. Raises as ``exchange``.

        ``newer_than``: seconds since the epoch; what was obtained before is not taken.
        """
        ...
