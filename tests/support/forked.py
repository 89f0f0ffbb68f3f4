"""Python programs that are forked instead of started anew.

Tests start hundreds of processes, and each would load what it needs for half of its life's work. One process
loads it once and is forked, before it has any thread; so it must not load gRPC, which does not survive a fork.
This module is loaded by every forked process: it imports nothing else.
"""

import functools
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import unittest.mock
from pathlib import Path

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__, "support.warm"])


class Process:
    """A forked Python program, with the part of ``subprocess.Popen`` that a stack uses.

    Args:
        arguments: those of Python's command line, ``-m module ...`` or ``-c code ...``.
        log: the file of its standard output and, without ``errors``, of its standard error.
    """

    def __init__(self, arguments, log, errors=None):
        _loaded()
        files = str(log), str(errors or log)
        for name in files:
            Path(name).touch()
        self._process = _processes.Process(target=_run, args=(arguments, *files, dict(os.environ)))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked program", timeout)
        return self._process.exitcode


def run(arguments, timeout):
    """Run a forked Python program to its end, as ``subprocess.run`` does, and capture what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        status = Process(arguments, output, errors).wait(timeout)
        return subprocess.CompletedProcess(arguments, status, output.read_text(), errors.read_text())


@functools.cache
def _loaded():
    """Wait, however busy the machine is, until what programs need is loaded: time limits are for programs."""
    nothing = _processes.Process(target=int)
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    # The process that is forked finds this package by nothing else.
    with unittest.mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(paths)):
        nothing.start()
    nothing.join()


def _run(arguments, log, errors, environment):
    for name, descriptor in ((log, 1), (errors, 2)):
        with open(name, "ab") as file:  # noqa: PTH123 - a file descriptor is all that is wanted
            os.dup2(file.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    kind, program, *rest = arguments
    sys.argv = [program, *rest]
    sys.orig_argv = [sys.executable, *arguments]  # by which a server starts its workers
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(program, {"__name__": "__main__"})
