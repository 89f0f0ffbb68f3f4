"""The first thing a newcomer runs."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from extproc.demo.ports import is_taken
from extproc.demo.settings import FIXED

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


@contextlib.contextmanager
def kept_demo(tmp_path, *options):
    """A demo that stays up, and what it printed; it must end cleanly on SIGTERM."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [*COMMAND, "--keep", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        printed = ""
        while "Configuration and logs" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        yield printed
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert running_with(str(tmp_path)) == []


def test_a_kept_demo_prints_commands_that_work_and_ends_cleanly_on_sigterm(tmp_path):
    with kept_demo(tmp_path) as printed:
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


def _metadata(url):
    """The resource metadata, found as MCP clients do from the address of the endpoint."""
    base, path = url[: url.index("/mcp")], "/.well-known/oauth-protected-resource/mcp"
    with urllib.request.urlopen(base + path, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.skipif(
    any(is_taken(getattr(FIXED, part)) for part in ("idp", "sts", "mcp", "extproc", "envoy")),
    reason="another process uses one of the demo's fixed ports",
)
def test_with_fixed_ports_clients_find_the_demo_at_both_names_of_this_machine(tmp_path):
    with kept_demo(tmp_path, "--ports", "fixed") as printed:
        assert "claude mcp add --transport http extproc-demo http://localhost:10000/mcp" in printed
        for url in ("http://localhost:10000/mcp", "http://127.0.0.1:10000/mcp"):
            document = _metadata(url)
            assert document["resource"] == url
            assert document["authorization_servers"] == ["http://localhost:9000"]
        with urllib.request.urlopen(
            "http://localhost:9000/.well-known/openid-configuration", timeout=10
        ) as found:
            assert json.load(found)["issuer"] == "http://localhost:9000"


def test_a_fixed_port_that_is_taken_is_named_before_anything_starts(tmp_path):
    with contextlib.closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # taken by somebody else: as good
            other.bind(("127.0.0.1", 9001))
            other.listen()
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        command = [*COMMAND, "--ports", "fixed"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=environment, check=False
        )
    assert done.returncode == 1
    assert re.search(r"already in use: .*127\.0\.0\.1:9001 \(sts\)", done.stdout.replace("\n", " "))
    assert list(tmp_path.iterdir()) == []
