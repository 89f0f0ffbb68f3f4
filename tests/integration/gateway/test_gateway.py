"""Two small programs in place of the server and Envoy: who is stopped when, and what is said."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from extproc.gateway.gateway import Gateway, GatewayError

PYTHON = [sys.executable, "-I", "-S", "-u", "-c"]
ENDURING = (
    "import signal, sys, time\n"
    "def leave(*_): print('leaving', flush=True); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, leave)\n"
    "signal.signal(signal.SIGHUP, lambda *_: print('reloading', flush=True))\n"
    "print('begun', flush=True)\n"
    "while True: time.sleep(60)\n"
)


class Watched:
    """A gateway of two programs whose output is kept."""

    def __init__(self, server=ENDURING, envoy=ENDURING):
        self.lines, self.said, self.hangups = [], [], 0
        self.gateway = Gateway(
            server_command=[*PYTHON, server],
            envoy_command=[*PYTHON, envoy],
            envoy_admin="127.0.0.1:1",
            unready=self._server_unready,
            drain_seconds=5.0,
            write=lambda name, line, _errors: self.lines.append((name, line.decode())),
            say=self.said.append,
            on_hangup=lambda: setattr(self, "hangups", self.hangups + 1),
        )
        self.gateway._admin.ready = self._envoy_ready
        self.ready = asyncio.Event()

    async def _server_unready(self):
        return [] if ("extproc", "begun") in self.lines else ["it has not begun"]

    async def _envoy_ready(self):
        return ("envoy", "begun") in self.lines

    async def run(self):
        await self.gateway.run(self.ready.set)

    async def until(self, *line):
        for _ in range(3000):
            if line in self.lines:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(self.lines)


async def test_a_signal_stops_envoy_first_and_the_server_after_it():
    watched = Watched()
    running = asyncio.create_task(watched.run())
    await watched.ready.wait()
    os.kill(os.getpid(), signal.SIGHUP)
    await watched.until("extproc", "reloading")
    assert watched.hangups == 1
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    ends = [name for name, line in watched.lines if line == "leaving"]
    assert ends == ["envoy", "extproc"]
    assert ("envoy", "reloading") not in watched.lines


async def test_envoy_is_started_when_the_server_is_ready():
    watched = Watched(server="import time; time.sleep(0.3)\n" + ENDURING)
    running = asyncio.create_task(watched.run())
    await watched.ready.wait()
    assert watched.lines == [("extproc", "begun"), ("envoy", "begun")]
    os.kill(os.getpid(), signal.SIGINT)
    await running


@pytest.mark.parametrize(("dies", "stays"), [("server", "envoy"), ("envoy", "extproc")])
async def test_a_part_that_ends_by_itself_takes_the_other_down(dies, stays):
    ends = "import sys, time\nprint('begun', flush=True); time.sleep(0.4); print('out of luck', file=sys.stderr); sys.exit(7)"
    watched = Watched(**{dies: ends})
    with pytest.raises(GatewayError, match=r"ended with exit status 7 \(its last line: out of luck\)"):
        await watched.run()
    assert (stays, "leaving") in watched.lines


async def test_a_part_that_ends_before_it_is_ready_is_an_error_with_its_last_line():
    watched = Watched(envoy="import sys; sys.exit('no such file: envoy.yaml')")
    with pytest.raises(GatewayError, match=r"before it was ready, envoy .* no such file: envoy\.yaml"):
        await watched.run()
    assert ("extproc", "leaving") in watched.lines


async def test_a_program_that_ignores_sigterm_is_killed(monkeypatch):
    monkeypatch.setattr("extproc.gateway.gateway._ENVOY_ENDS_WITHIN", 0.3)
    watched = Watched(
        envoy="import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        + ENDURING.replace("signal.signal(signal.SIGTERM, leave)", "")
    )
    running = asyncio.create_task(watched.run())
    await watched.ready.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert ("extproc", "leaving") in watched.lines


async def test_long_lines_and_a_last_one_without_its_end_are_passed_on():
    watched = Watched(server="import sys; sys.stdout.write('x' * 200_000 + '\\nlast'); sys.exit(1)")
    with pytest.raises(GatewayError):
        await watched.run()
    assert watched.lines == [("extproc", "x" * 200_000), ("extproc", "last")]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's request is Linux's")
def test_a_program_does_not_outlive_a_parent_that_is_killed(tmp_path):
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = textwrap.dedent(f"""
        import asyncio, sys
        from extproc.gateway.child import Child
        async def main():
            child = Child("child", [sys.executable, "-I", "-S", "-c", {child!r}], write=print)
            await child.start()
            await child.wait()
        asyncio.run(main())
    """)
    process = subprocess.Popen([sys.executable, "-c", parent])
    try:
        _until(lambda: pid_file.exists() and pid_file.read_text())
    finally:
        process.kill()
        process.wait()
    _until(lambda: not _alive(int(pid_file.read_text())))


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that nobody has waited for yet has ended all the same.
    with open(f"/proc/{pid}/stat") as status:  # noqa: PTH123
        return status.read().rpartition(")")[2].split()[0] != "Z"


def _until(true):
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true")
