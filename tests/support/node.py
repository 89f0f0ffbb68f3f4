"""Node.js and what tests run with it: the packages that tests/node/package-lock.json names, to the hash."""

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "node"
NEEDED = 22  # the conformance suite's


def node(*, at_least=NEEDED):
    """Return a Node.js that is new enough, with the packages installed.

    Skips the test where npm is missing or its registry cannot be reached.
    """
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed (Node.js has it)")
    lock = FOLDER / "package-lock.json"
    installed = FOLDER / "node_modules" / ".installed"
    with (FOLDER / "package.json").open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # of test processes that run side by side, one installs
        if not installed.exists() or installed.read_bytes() != lock.read_bytes():
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(
                command, cwd=FOLDER, capture_output=True, text=True, timeout=170, check=False
            )
            if done.returncode != 0:
                pytest.skip(f"npm cannot install tests/node: {done.stderr.strip()[-300:]}")
            installed.write_bytes(lock.read_bytes())
    found = shutil.which("node")
    if found is not None and _version(found) >= at_least:
        return found
    for packaged in sorted(FOLDER.glob("node_modules/node-linux-*/bin/node")):
        if os.access(packaged, os.X_OK):
            return str(packaged)
    return pytest.skip(f"Node.js {at_least} or newer is not installed, and npm has none for this platform")


def _version(program):
    answer = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=30, check=False
    ).stdout
    found = re.match(r"v(\d+)\.", answer)
    return int(found[1]) if found else 0
