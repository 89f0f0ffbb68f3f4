"""Denials that wait for the body of an MCP request: the id that the answer must repeat is in it.

Without it the answer is there, and hardly any client can tell which of its requests it is about. A wait is
bounded: the token is verified, so nobody unknown has anything buffered; the length is announced, and small
like that of a message that rules read; so many wait at once and no more, others are answered without an id;
and Envoy's ``request_timeout`` ends those whose body does not come. Nothing is ever let through by waiting.
For any thread.
"""

import re
import threading

from extproc.errors import Denied, Reason

MAX_WAITING = 256

_LENGTH = re.compile(r"[0-9]{1,9}", re.ASCII)
_OF_KNOWN_USERS = frozenset(
    {
        Reason.SCOPE_MISSING,
        Reason.REVOKED,
        Reason.CLAIMS_SHAPE,
        Reason.NO_ROLE,
        Reason.POLICY_ERROR,
        Reason.POLICY_DENIED,
        Reason.POLICY_CONFLICT,
        Reason.POLICY_BUSY,
        Reason.SESSION_NAME_INVALID,
        Reason.STS_ACCESS_DENIED,
        Reason.STS_UNAVAILABLE,
        Reason.STS_THROTTLED,
        Reason.STS_BUSY,
        Reason.USER_BUSY,
        Reason.STS_PROVIDER_UNREACHABLE,
        Reason.STS_MISCONFIGURED,
    }
)
"""What comes after the verification of the token, and is no 401."""

OF_THE_HEAD = frozenset({Reason.TARGET_UNKNOWN, Reason.HEADER_REFUSED, Reason.MCP_MALFORMED})
"""What is found before the token is verified, which therefore has to be done first."""


class HeldBack:
    """Counts the denials that wait.

    Args:
        max_bytes: the longest body that is waited for.
        max_waiting: denials that may wait at once.
    """

    def __init__(self, *, max_bytes: int, max_waiting: int = MAX_WAITING) -> None:
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._waiting = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._waiting

    def may_wait(self, error: BaseException, content_length: str | None) -> bool:
        """Return whether a denial is one that may wait for a body of the announced length."""
        return (
            isinstance(error, Denied)
            and error.reason in _OF_KNOWN_USERS | OF_THE_HEAD
            and content_length is not None
            and _LENGTH.fullmatch(content_length) is not None
            # None at all would be an HTTP/2 request whose trailers may come in place of a body.
            and 0 < int(content_length) <= self._max_bytes
        )

    def enter(self) -> bool:
        """Return whether there is room for one more, and take it."""
        with self._lock:
            if self._waiting >= self._max_waiting:
                return False
            self._waiting += 1
            return True

    def leave(self) -> None:
        """Give up the room that ``enter`` took."""
        with self._lock:
            self._waiting -= 1
