"""The demo's stack for tests: cheaper to start, and some that differ from the demo's."""

import contextlib
import functools
import multiprocessing
import os
import signal
import subprocess
import sys

from extproc.demo import service, settings
from extproc.demo import stack as demo

# Every test file starts a stack of its own, and each of the emulated services would load what it needs for
# half of its life's work. One process loads it once and is forked, before it has any thread.
_services = multiprocessing.get_context("forkserver")
_services.set_forkserver_preload(
    [
        "extproc.demo.service",
        "extproc.demo.idp",
        "extproc.demo.sts",
        "extproc.demo.mcp_server",
        "uvicorn.protocols.http.h11_impl",
    ]
)


class Stack(demo.Stack):
    """The demo's stack; the processes of its services are forked instead of started anew."""

    def start_part(self, name):
        if name in ("extproc", "envoy"):
            super().start_part(name)
        else:
            _loaded()
            arguments = settings.service_arguments(name, self.addresses)
            self.processes[name] = _Service(arguments[2:], self.directory / f"{name}.log")


class ImpatientStack(Stack):
    """A stack whose server replaces refused credentials at once, however new they are."""

    def _command(self, name):
        if name != "extproc":
            return super()._command(name)
        impatient = (
            "import extproc.sessions.cache as cache; cache._HEALING_INTERVAL = 0.0; "
            "from extproc.cli import main; main()"
        )
        return [sys.executable, "-c", impatient, *super()._command(name)[3:]]


class PatchedStack(Stack):
    """A stack whose parts may run with Python code before their own: builds with a bug, or another clock."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.patches = {}

    def wait_ready(self, name):
        """Wait longer than a demo would: several stacks start at once on a machine that has other work."""
        for _ in range(3):
            with contextlib.suppress(demo.StackError):
                return super().wait_ready(name)
        return super().wait_ready(name)

    def start_part(self, name):
        if self.patches.get(name):
            demo.Stack.start_part(self, name)
        else:
            super().start_part(name)

    def _command(self, name):
        command = super()._command(name)
        patch = self.patches.get(name)
        if not patch:
            return command
        python, _, module, *rest = command
        main = f"import runpy; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
        return [python, "-c", f"{patch}\n{main}", *rest]


class _Service:
    """A forked service, with the part of ``subprocess.Popen`` that a stack uses."""

    def __init__(self, arguments, log):
        self._process = _services.Process(target=_serve, args=(arguments, str(log)))
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

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("service", timeout)
        return self._process.exitcode


@functools.cache
def _loaded():
    """Wait, however busy the machine is, until what services need is loaded: time limits are for services."""
    nothing = _services.Process(target=int)
    nothing.start()
    nothing.join()


def _serve(arguments, log):
    with open(log, "ab") as file:  # noqa: PTH123 - a file descriptor is all that is wanted
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    service.main(arguments)
