"""Denials that wait for the body of an MCP request: the id that the answer must repeat is in it.

Without it the answer is there, and hardly any client can tell which of its requests it is about. A wait is
bounded: the token is verified, so nobody unknown has anything buffered; the length is announced, and small
like that of a message that rules read; so many wait at once and no more, of one token an eighth of them, and
others are answered without an id; and Envoy's ``request_timeout`` ends those whose body does not come.
Nothing is ever let through by waiting. For any thread.
"""

import re
import threading
from collections import Counter

from extproc.errors import Denied, Reason
from extproc.values import TokenDigest

MAX_WAITING = 256
MAX_OF_ONE_TOKEN = 32

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

_MAY_WAIT = _OF_KNOWN_USERS | OF_THE_HEAD


class HeldBack:
    """Counts the denials that wait.

    Args:
        max_bytes: the longest body that is waited for.
        max_waiting: denials that may wait at once.
        max_of_one_token: the same, of requests with one token.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        max_waiting: int = MAX_WAITING,
        max_of_one_token: int = MAX_OF_ONE_TOKEN,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_waiting = max_waiting
        self._max_of_one_token = max_of_one_token
        self._waiting: Counter[TokenDigest] = Counter()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._waiting.total()

    def may_wait(self, error: BaseException, content_length: str | None) -> bool:
        """Return whether a denial is one that may wait for a body of the announced length."""
        return (
            isinstance(error, Denied)
            and error.reason in _MAY_WAIT
            and content_length is not None
            and _LENGTH.fullmatch(content_length) is not None
            # None at all would be an HTTP/2 request whose trailers may come in place of a body.
            and 0 < int(content_length) <= self._max_bytes
        )

    def enter(self, token: TokenDigest) -> bool:
        """Return whether there is room for one more with this token, and take it."""
        with self._lock:
            if len(self) >= self._max_waiting or self._waiting[token] >= self._max_of_one_token:
                return False
            self._waiting[token] += 1
            return True

    def leave(self, token: TokenDigest) -> None:
        """Give up the room that ``enter`` took."""
        with self._lock:
            self._waiting[token] -= 1
            if not self._waiting[token]:
                del self._waiting[token]
