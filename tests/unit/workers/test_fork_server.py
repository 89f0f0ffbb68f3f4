"""Where workers are not forked. Supervisors with real forks are in tests/integration/workers."""

import os
import subprocess
import sys
import threading

import pytest

from extproc.workers import fork_server
from extproc.workers.processes import NewProcesses

OTHERWISE = NewProcesses([])


@pytest.fixture
def never_forks(monkeypatch):
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))


def test_a_process_with_another_thread_is_not_forked(never_forks):
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        assert fork_server.begin(otherwise=OTHERWISE) is OTHERWISE
    finally:
        end.set()
        thread.join()


def test_a_system_without_descriptors_of_processes_is_not_forked(never_forks, monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")
    assert fork_server.begin(otherwise=OTHERWISE) is OTHERWISE


REHEARSED = """
import os, sys
from pathlib import Path
import extproc.app.lifecycle, extproc.app.listeners, extproc.workers.supervisor
from extproc import config
from extproc.app import snapshot
settings = config.load(Path(sys.argv[1]))
before = os.listdir("/proc/self/fd")
snapshot.rehearse(settings)
print(len(os.listdir("/proc/self/task")), os.listdir("/proc/self/fd") == before)
"""
CONFIGURATION = """
resource: {url: https://mcp.example/mcp}
issuers: [{issuer: https://idp.example, audiences: [https://mcp.example/mcp]}]
targets: [{name: aws-mcp, host: aws-mcp.us-east-1.api.aws}]
role_mappings:
  - {name: developers, matcher: '"d" in claims.groups', role_arn: "arn:aws:iam::123456789012:role/D"}
"""


def test_what_comes_before_a_fork_starts_no_thread_and_opens_nothing(tmp_path):
    path = tmp_path / "extproc.yaml"
    path.write_text(CONFIGURATION)
    command = [sys.executable, "-c", REHEARSED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "1 True\n"
