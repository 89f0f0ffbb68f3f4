"""Denials that wait for the body of an MCP request: it has the id that the response must repeat.

Without the id hardly any client can tell which of its requests was denied. Waiting is bounded. The token is
verified first, so nothing is buffered for unknown users. The body's length is announced, and no more than
that of a message that rules read. At most ``MAX_WAITING`` denials wait, of one token an eighth of
them; others are answered without an id. Envoy's ``request_timeout`` ends a wait for a body that does not
come. A request that waits here is never let through. For any thread.
"""

import re
import threading
from collections import Counter

from extproc.errors import Denied, Reason
from extproc.values import TokenDigest

MAX_WAITING = 256
MAX_OF_ONE_TOKEN = 32

_LENGTH = re.compile(r"[0-9]{1,9}", re.ASCII)
_AFTER_VERIFICATION = frozenset(
    {
        Reason.RATE_LIMITED,
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
"""Reasons found after the verification of the token, except those that are a 401."""

BEFORE_VERIFICATION = frozenset({Reason.TARGET_UNKNOWN, Reason.HEADER_REFUSED, Reason.MCP_MALFORMED})
"""Reasons found before the token is verified: it is verified before such a denial waits."""

_MAY_WAIT = _AFTER_VERIFICATION | BEFORE_VERIFICATION


class WaitingDenials:
    """Counts the denials that wait, and limits their number.

    Args:
        max_bytes: the largest body that is waited for.
        max_waiting: denials that may wait at once.
        max_of_one_token: denials of one token that may wait at once.
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
            # A length of 0 would be an HTTP/2 request whose trailers may come in place of a body.
            and 0 < int(content_length) <= self._max_bytes
        )

    def enter(self, token: TokenDigest) -> bool:
        """Take a place for a denial of this token; return False if all are taken."""
        with self._lock:
            if len(self) >= self._max_waiting or self._waiting[token] >= self._max_of_one_token:
                return False
            self._waiting[token] += 1
            return True

    def leave(self, token: TokenDigest) -> None:
        """Give back the place that ``enter`` took."""
        with self._lock:
            self._waiting[token] -= 1
            if not self._waiting[token]:
                del self._waiting[token]
