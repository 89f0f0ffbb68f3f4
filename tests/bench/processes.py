"""The processes of a run: started, awaited, measured, and stopped whatever happens."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil
import urllib3

READY_WITHIN = 120.0  # seconds; a busy machine may need them
STOPPED_WITHIN = 10.0


class Processes:
    """Named child processes with their logs in one directory. Start them from a thread that lives on:
    Envoy ends together with the thread that started it.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._http = urllib3.PoolManager(retries=False, timeout=2.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)
        self._http.clear()

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        """Start a process and return its id; its output goes to a log."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env
            )
        return self._running[name].pid

    def start_module(self, name: str, module: str, *arguments: str) -> None:
        """Start ``python -m module``."""
        self.start(name, [sys.executable, "-m", module, *arguments])

    def wait_ready(self, name: str, url: str, *, within: float = READY_WITHIN) -> None:
        """Wait until a URL answers with 200, for at most ``within`` seconds.

        Raises:
            RuntimeError: the process ended or took too long; quotes the end of its log.
        """
        until = time.monotonic() + within
        while time.monotonic() < until and self._running[name].poll() is None:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if self._http.request("GET", url).status == 200:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{name} did not become ready:\n{self.log_end(name)}")

    def log_end(self, name: str) -> str:
        """The last lines of a process's log."""
        return (self._logs / f"{name}.log").read_text(errors="replace")[-2000:]

    def stop(self, name: str) -> None:
        """Stop one process and wait for its end."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time that each process has used."""
        return {name: _cpu(process.pid) for name, process in self._running.items()}

    def pid(self, name: str) -> int:
        """The process id."""
        return self._running[name].pid

    def rss(self, name: str) -> int:
        """Bytes of memory that a process holds."""
        return int(psutil.Process(self._running[name].pid).memory_info().rss)


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
