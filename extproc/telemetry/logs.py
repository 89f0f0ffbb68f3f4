"""Logs: readable on a terminal, one JSON object a line otherwise.

Callers choose each field; no object is logged whole. Messages of libraries (asyncio, gRPC, botocore) may
quote secrets, so those are logged as the logger's name, the source line and the exception's type.
"""

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

from extproc.telemetry.repeats import Repeats

_log = structlog.get_logger(__name__)
_common_fields: dict[str, object] = {}


def name_worker(number: int) -> None:
    """Add the worker's number to every line from now on."""
    _common_fields["worker"] = number


def _add_common(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.update(_common_fields)
    return event


def configure(level: str) -> None:
    """Set up logging for this process; ``level`` is a level's name, in upper or lower case."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            Repeats(),
            _add_common,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Writes the line and its end at once: other workers may write to the same stderr.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.root.handlers = [_Libraries(logging.WARNING)]
    threading.excepthook = _thread_failed


class _Libraries(logging.Handler):
    """Logs that a library has logged something, without the message."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        _log.log(
            record.levelno,
            "library_log",
            logger=record.name,
            at=f"{record.module}:{record.lineno}",
            error=type(error).__name__ if error else None,
        )


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    frames = traceback.extract_tb(failure.exc_traceback)
    _log.error(
        "thread_failed",
        thread=failure.thread.name if failure.thread else None,
        error=failure.exc_type.__name__,
        at=f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "",
    )
