"""The first thing a newcomer runs."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "extproc", "demo"]


def running_with(text):
    """Command lines of living processes that contain a text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if text in line:
            found.append(line)
    return found


@pytest.mark.long  # tests of the wheel run the same demo, installed
def test_the_demo_succeeds_and_leaves_no_process_behind(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything was as expected." in done.stdout
    assert re.search(r" 127\.0\.0\.1:[0-9]+ SERVING$", done.stdout, re.MULTILINE)
    assert "DemoAdmin as demo-admin" in done.stdout
    assert "DemoDeveloper as demo-developer" in done.stdout
    assert done.stdout.count(" yes ") == 9
    assert running_with(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_a_kept_demo_prints_commands_that_work_and_ends_cleanly_on_sigterm(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([*COMMAND, "--keep"], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        printed = ""
        while "Configuration and logs" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        # The block from TOKEN= to the first curl of the MCP endpoint, as a user pastes it.
        block = re.search(r"(TOKEN=.*?)\n\n(curl .*?)\n\n", printed, re.DOTALL)
        pasted = subprocess.run(
            ["bash", "-c", block[0]], capture_output=True, text=True, timeout=30, check=True
        )
        assert "assumed-role/DemoAdmin/demo-admin" in pasted.stdout
        asked = re.search(r"^.* -m extproc health .*$", printed, re.MULTILINE)[0]
        assert (
            "SERVING"
            in subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True).stdout
        )
        token = re.search(r"^TOKEN=.*?\n\n", printed, re.MULTILINE | re.DOTALL)[0]
        three_logs = re.search(r"# One request in three logs.*?\n\n", printed, re.DOTALL)[0]
        pasted = subprocess.run(
            ["bash", "-c", f"{token}\n{three_logs}"], capture_output=True, text=True, timeout=30, check=True
        )
        assert {line.partition(".log:")[0].rpartition("/")[2] for line in pasted.stdout.splitlines()} >= {
            "audit",
            "envoy",
            "mcp",
        }
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert running_with(str(tmp_path)) == []
