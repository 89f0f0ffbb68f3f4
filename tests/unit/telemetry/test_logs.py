"""Logs: repeats are limited, and libraries' messages are left out."""

import io
import json
import logging
import sys
import threading

import pytest
import structlog
from structlog.exceptions import DropEvent

from extproc.telemetry import logs
from extproc.telemetry.repeats import LIMIT, WINDOW, Repeats


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    handlers, hook = logging.root.handlers, threading.excepthook
    monkeypatch.setattr(logs, "_log", structlog.get_logger("logs"))  # the real one keeps its first stream
    yield
    logging.root.handlers, threading.excepthook = handlers, hook
    structlog.reset_defaults()


@pytest.fixture
def written(capsys):
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def passed(limiter, **line):
    try:
        return limiter(None, "", dict(line))
    except DropEvent:
        return None


def test_repeated_lines_are_dropped_after_some_and_counted_in_a_later_one():
    now = [0.0]
    limiter = Repeats(lambda: now[0])
    shown = [passed(limiter, event="exchange_failed", reason="sts_unavailable") for _ in range(LIMIT + 25)]
    assert [line is not None for line in shown] == [True] * LIMIT + [False] * 25
    assert passed(limiter, event="exchange_failed", reason="sts_throttled") is not None
    assert passed(limiter, event="another", reason="sts_unavailable") is not None
    now[0] += WINDOW
    assert passed(limiter, event="exchange_failed", reason="sts_unavailable")["suppressed"] == 25
    assert "suppressed" not in passed(limiter, event="exchange_failed", reason="sts_unavailable")


def test_few_lines_are_all_shown():
    now = [0.0]
    limiter = Repeats(lambda: now[0])
    for _ in range(100):
        assert passed(limiter, event="e") is not None
        now[0] += WINDOW / LIMIT


def test_kinds_are_bounded():
    limiter = Repeats(lambda: 0.0)
    for number in range(5000):
        passed(limiter, event=f"e{number}")
    assert len(limiter._kinds) <= 1000


def test_lines_are_json_without_a_terminal_and_levels_apply(written):
    logs.configure("warning")
    structlog.get_logger("t").info("left_out")
    structlog.get_logger("t").warning("shown", field=1)
    (line,) = written()
    assert (line["event"], line["level"], line["field"]) == ("shown", "warning", 1)


def test_lines_are_readable_on_a_terminal(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("info")
    structlog.get_logger("t").info("hello", field=1)
    assert "hello" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_messages_and_exceptions_of_libraries_are_not_quoted(written):
    logs.configure("debug")
    try:
        raise RuntimeError("canary-in-exception")  # noqa: TRY301
    except RuntimeError:
        logging.getLogger("botocore").exception("canary-in-message %s", "canary-in-argument")
    logging.getLogger("urllib3").debug("canary-at-debug")
    (line,) = written()
    assert (line["event"], line["logger"], line["error"]) == ("library_log", "botocore", "RuntimeError")
    assert "canary" not in json.dumps(line)


def test_the_failure_of_a_thread_is_logged_without_its_message(written):
    logs.configure("info")

    def fail():
        raise ValueError("canary")

    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()
    (line,) = written()
    assert (line["event"], line["thread"], line["error"]) == ("thread_failed", "worker", "ValueError")
    assert "canary" not in json.dumps(line)


def test_a_line_and_its_end_are_one_write_so_that_workers_lines_do_not_mix(monkeypatch):
    writes = []

    class Unbuffered(io.StringIO):
        def write(self, text):
            writes.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Unbuffered())
    logs.configure("info")
    structlog.get_logger("t").info("stopped")
    (only,) = writes
    assert only.endswith("}\n")
    assert json.loads(only)["event"] == "stopped"
