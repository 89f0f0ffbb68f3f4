"""The quickstart's commands, in its order, lead to a tool call. Only addresses are others, which are free."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extproc.demo.ports import free_ports
from extproc.demo.settings import FIXED, Addresses
from support.stacks import Stack

PAGE = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PATIENCE = 60.0  # seconds


@pytest.fixture
def shell(tmp_path):
    """The demo's services, which are the first terminal, and a shell in which the page's commands are run."""
    at = Addresses(*(f"127.0.0.1:{port}" for port in free_ports(7)), host="localhost")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("extproc", "envoy"):
        found = Path(sys.executable).with_name(name)
        (programs / name).symlink_to(found if found.exists() else shutil.which(name))
    (programs / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python3").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

    def start(code):
        for part in ("idp", "sts", "mcp", "envoy", "envoy_admin"):
            old, new = (getattr(addresses, part).rpartition(":")[2] for addresses in (FIXED, at))
            code = code.replace(f":{old}", f":{new}")
        code = code.replace("extproc run ", f"exec extproc run --admin {at.envoy_admin} ")
        with (tmp_path / "output").open("wb") as output:
            return subprocess.Popen(
                ["bash", "-ec", code], cwd=tmp_path, env=environment, stdout=output, stderr=output
            )

    def run(code):
        status = start(code).wait(PATIENCE)
        return status, (tmp_path / "output").read_text()

    stack = Stack(tmp_path, addresses=at)
    try:
        stack.start_services()
        yield start, run, tmp_path, at
    finally:
        stack.stop()


def test_the_quickstart_leads_from_a_written_configuration_to_a_tool_call_of_an_mcp_client(shell):
    start, run, directory, at = shell
    install, path, services, configure, gateway, with_browser, without_browser, doctor = BLOCKS
    assert install.split() == ["make", "demo"]
    assert path.startswith("export PATH=$PWD/.venv/bin")
    assert shlex.split(services) == ["extproc", "demo", "--services"]

    status, output = run(configure)
    assert (status, "ok (1 issuer, 1 target, 1 role mapping)" in output) == (0, True), output
    with (directory / "extproc.yaml").open("a") as settings:
        settings.write(
            f"listen: {{grpc: '{at.extproc}', admin: '{at.extproc_admin}'}}\ndrain_delay_seconds: 0\n"
        )
    running = start(gateway)
    log = directory / "output"
    log = log.rename(directory / "run.log")
    try:
        began = time.monotonic()
        while "| ready" not in log.read_text():
            assert time.monotonic() - began < PATIENCE, log.read_text()
            assert running.poll() is None, log.read_text()
            time.sleep(0.1)
        connect = with_browser.splitlines()[0]
        status, output = run(f"{connect}\n{without_browser}")
        assert (status, '"role_name": "DemoDeveloper"' in output) == (0, True), output
        assert '"session_name": "demo-developer"' in output
        status, output = run(doctor)
        assert status == 0, output
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(PATIENCE)
