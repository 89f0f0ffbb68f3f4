"""On what a run was made: no names of hosts or paths, just what figures depend on."""

import datetime as dt
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

from extproc.demo.stack import find_program

_LIBRARIES = (
    "grpcio",
    "protobuf",
    "PyJWT",
    "cryptography",
    "cel-python",
    "botocore",
    "cachetools",
)


def machine() -> dict[str, str]:
    """What the report states, in its order."""
    envoy = subprocess.run([find_program("envoy"), "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"/(\d+\.\d+\.\d+)/", envoy.stdout)
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Envoy": f"{version[1] if version else '?'}, one worker (`--concurrency 1`)",
        "libraries": ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def stolen() -> float:
    """Seconds of processor time that other machines on the same host took."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))
