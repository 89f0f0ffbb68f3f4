"""The demo's stack for tests: cheaper to start, and some that differ from the demo's."""

import contextlib
import sys

from extproc.demo import stack as demo
from support import forked


class Stack(demo.Stack):
    """The demo's stack; its Python processes are forked instead of started anew."""

    def start_part(self, name):
        command = self._command(name)
        if command[0] == sys.executable:
            self.processes[name] = forked.Process(command[1:], self.directory / f"{name}.log")
        else:
            super().start_part(name)


class ImpatientStack(Stack):
    """A stack whose server replaces refused credentials at once, however new they are."""

    def _command(self, name):
        if name != "extproc":
            return super()._command(name)
        impatient = (
            "import extproc.sessions.credentials as credentials; credentials._HEALING_INTERVAL = 0.0; "
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
