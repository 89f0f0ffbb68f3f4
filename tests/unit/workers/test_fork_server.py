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


def test_what_serving_imports_starts_no_thread():
    program = """
import os
import extproc.app.lifecycle, extproc.app.listeners, extproc.workers.supervisor
print(len(os.listdir("/proc/self/task")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
