"""Users whom the gateway refuses, who may not look or act here: the stolen account may be an operator's."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from extproc.console.access import CERTIFICATE, SOCKET, User
from extproc.console.server_api import CallError, ServerApi
from extproc.console.sessions import BrowserSessions

_EVERY = 5.0  # seconds

_log = structlog.get_logger(__name__)


class DenyList:
    """The server's revocations of users and issuers. Belongs to one event loop.

    While the server does not answer, the last known ones hold.
    """

    def __init__(self, api: ServerApi, sessions: BrowserSessions) -> None:
        self._api = api
        self._sessions = sessions
        self._entries: Sequence[Mapping[str, Any]] = ()

    async def refuses(self, user: User) -> bool:
        """Return whether the server refuses this user now."""
        await self.look()
        return self._names(user)

    async def look(self) -> None:
        """Fetch the revocations, and end the sessions of users whom they name."""
        with contextlib.suppress(CallError):
            self._entries = (await self._api.call("ListRevocations"))["revocations"]
        self._sessions.end_those(self._names)

    async def follow(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            if len(self._sessions):
                try:
                    await self.look()
                except Exception as error:  # noqa: BLE001 - one answer that cannot be read must not be the last
                    _log.error("console_deny_list_failed", error=type(error).__name__)

    def _names(self, user: User) -> bool:
        return any(names(entry, user) for entry in self._entries)


def names(revocation: Mapping[str, Any], user: User) -> bool:
    """Return whether a revocation is of this user, or of their whole issuer.

    One of a single token names no user: a login here has another token. Users without an issuer are never
    in the gateway's deny list.
    """
    if user.source in (CERTIFICATE, SOCKET) or revocation.get("jti"):
        return False
    conditions = {"issuer": user.source, "subject": user.subject}
    return all(revocation.get(name) in (None, "", value) for name, value in conditions.items())
