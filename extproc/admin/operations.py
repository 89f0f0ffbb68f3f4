"""What the admin API can ask of a running process; plain values, no protobuf.

Nothing here holds a token or a secret. Times are seconds since the epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from extproc.sessions.revocation import Selector


class RefusedError(ValueError):
    """A request that cannot be acted on; the message says why, and is told to the caller."""


@dataclass(frozen=True, slots=True)
class KeySetStatus:
    """The verification keys of one issuer. ``fetched_at`` None: never."""

    issuer: str
    usable: bool
    keys: int
    fetched_at: float | None
    failure: str | None


@dataclass(frozen=True, slots=True)
class ConfigurationStatus:
    """What is running. ``problems``: why the last reload was refused; empty if it was not."""

    digest: str
    loaded_at: float
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """How one process is. ``breaker``: the name of its state; ``clock_offset``: seconds."""

    worker: int
    pid: int
    version: str
    now: float
    started_at: float
    unready: tuple[str, ...]
    degraded: tuple[str, ...]
    configuration: ConfigurationStatus
    sessions: int
    credentials: int
    revocations: int
    exchanges_waiting: int
    breaker: str
    clock_offset: float
    key_sets: tuple[KeySetStatus, ...]


@dataclass(frozen=True, slots=True)
class CredentialsView:
    """Temporary credentials without what is secret. ``mapping`` None: the fallback role."""

    mapping: str | None
    role_arn: str
    chained_role_arn: str | None
    session_name: str
    access_key_id: str
    obtained_at: float
    expires_at: float
    used_at: float


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session without its token. ``id`` tells nothing about the token."""

    id: str
    worker: int
    issuer: str
    subject: str
    jti: str | None
    expires_at: float
    credentials: tuple[CredentialsView, ...]


@dataclass(frozen=True, slots=True)
class Revocation:
    """What a revocation did. ``refused_until`` None: nobody is refused."""

    sessions: int
    credentials: int
    refused_until: float | None
    role_policy: str


class Operations(Protocol):
    """A running process, as its operators see it."""

    def status(self) -> Status:
        """How it is."""
        ...

    def sessions(self, selector: Selector) -> list[SessionView]:
        """The sessions that meet all conditions, in no order."""
        ...

    async def explain(self, claims: bytes, request: bytes | None) -> Mapping[str, Any]:
        """What ``extproc explain --json`` prints, under the policy that is running. Both are JSON objects.

        Raises:
            RefusedError: one of them is not usable.
        """
        ...

    def revoke(self, selector: Selector, *, refuse_for: float) -> Revocation:
        """End the selected sessions; refuse their owners for so many seconds, if more than zero.

        Raises:
            RefusedError: the selector names nobody who could be refused, or the list is full.
        """
        ...

    async def reload(self) -> list[str]:
        """Read the configuration again; the problems for which it was refused, if any."""
        ...

    def metrics(self) -> str:
        """The metrics in Prometheus's text format."""
        ...
