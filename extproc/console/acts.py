"""What users of the console do, in the audit log: who, what, and what came of it.

A line is written before an act and one after it. An act whose first line cannot be written is refused.
"""

import json
import sys
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from extproc.clock import Clock
from extproc.config import Settings
from extproc.console.access import User
from extproc.telemetry.audit import Sink
from extproc.telemetry.sink import FileSink, StreamSink

KEPT = 100
"""Acts that pages show."""

_log = structlog.get_logger(__name__)


class NotLoggedError(Exception):
    """The audit log cannot be written, so nothing was done."""


class LogSink:
    """Writes to the log where there is no audit log (``audit.output: null``)."""

    def write(self, lines: bytes) -> None:
        """Log each line."""
        for line in lines.splitlines():
            _log.warning("console_act", **{f"act_{name}": value for name, value in json.loads(line).items()})

    def close(self) -> None:
        """Do nothing."""


def build_sink(settings: Settings) -> Sink:
    """Return where the server's audit log goes.

    Raises:
        OSError: its file cannot be opened.
    """
    output = settings.audit.output
    if output is None:
        return LogSink()
    return StreamSink(sys.stdout.fileno()) if output == "-" else FileSink(Path(output))


class Acts:
    """Writes acts, and keeps the last ones. For one event loop."""

    def __init__(self, sink: Sink, *, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self.recent: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def write(self, act: str, user: User | None, *, outcome: str, peer: str, **details: Any) -> None:
        """Write one line.

        Args:
            act: its name.
            user: who acts; None if nobody has logged in.
            outcome: ``begun``, ``done``, ``refused`` or ``failed``.
            peer: the browser's address.
            details: conditions, counts; nothing secret.

        Raises:
            NotLoggedError: it cannot be written.
        """
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(self._clock(), UTC).isoformat(),
            "event": "console",
            "act": act,
            "outcome": outcome,
            "actor_issuer": user.source if user else None,
            "actor": user.subject if user else None,
            "actor_name": user.name if user else None,
            "peer": peer,
            **details,
        }
        try:
            self._sink.write(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n")
        except OSError as error:
            _log.error("console_act_not_logged", error=type(error).__name__)
            raise NotLoggedError("The audit log cannot be written, so nothing was done.") from None
        self.recent.appendleft(line)


def conditions_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions of a revocation, for a line."""
    return {name: fields.get(name) for name in ("issuer", "subject", "jti", "role_arn") if fields.get(name)}
