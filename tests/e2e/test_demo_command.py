"""The first thing a newcomer runs."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

import pytest
from click.testing import CliRunner

from extproc.cli import main
from support.processes import running_with

COMMAND = [sys.executable, "-m", "extproc", "demo"]


@pytest.mark.long  # tests of the wheel run the same demo, installed (integration/packaging)
def test_the_demo_succeeds_and_leaves_no_process_behind(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything was as expected." in done.stdout
    assert re.search(r" 127\.0\.0\.1:[0-9]+ SERVING$", done.stdout, re.MULTILINE)
    assert "DemoAdmin as demo-admin" in done.stdout
    assert "DemoDeveloper as demo-developer" in done.stdout
    assert done.stdout.count(" yes ") == 10
    assert running_with(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("store", ["found", "absent"])
def test_one_exchange_serves_two_replicas(tmp_path, store):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [*COMMAND, "--replicas", "2"]
    if store == "absent":
        program = "from extproc.demo import command as c; c.find_store = lambda: None; c.run(keep=False, replicas=2)"
        command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert "Everything was as expected." in done.stdout, done.stdout + done.stderr
    assert ("2 replicas: shared store" if store == "found" else "2 replicas: affinity") in done.stdout
    assert ("no shared store: that needs" in done.stdout) == (store == "absent")
    assert store == "found" or "[valkey]" in done.stdout
    assert running_with(str(tmp_path)) == []


def test_a_fixed_port_that_is_taken_is_named_before_anything_starts(tmp_path, monkeypatch):
    with contextlib.closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # taken by somebody else: as good
            other.bind(("127.0.0.1", 9001))
            other.listen()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own
        done = CliRunner().invoke(main, ["demo", "--ports", "fixed"])
    assert done.exit_code == 1
    assert re.search(r"already in use: .*127\.0\.0\.1:9001 \(sts\)", done.stdout.replace("\n", " "))
    assert list(tmp_path.iterdir()) == []
