"""Logs: readable on a terminal, one JSON object a line otherwise. Call sites choose fields; nothing dumps.

Others' messages (asyncio's, gRPC's, botocore's) may quote anything, so of those only the
logger, the place and the type of the exception are shown.
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
_of_all: dict[str, object] = {}


def name_worker(number: int) -> None:
    """Say in every line from now on which worker of a supervisor this process is."""
    _of_all["worker"] = number


def _with_worker(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.update(_of_all)
    return event


def configure(level: str) -> None:
    """Set up logging for this process; ``level``: a name of the logging module, in any case."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            Repeats(),
            _with_worker,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Line and end in one write: an unbuffered stderr may be shared with other workers.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.root.handlers = [_Libraries(logging.WARNING)]
    threading.excepthook = _thread_failed


class _Libraries(logging.Handler):
    """The libraries' own logs, without their messages."""

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
