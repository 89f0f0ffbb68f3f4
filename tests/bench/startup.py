"""What a start costs: ``python -m bench.startup`` starts the real server, waits until it is ready, and reads its figures.

Processor time is of all its processes until each is ready, memory a moment later: the sum of the resident
memory of its processes, and what they take together, with each page that they share counted once.
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

from extproc.demo.ports import free_ports

_ROLE = "arn:aws:iam::123456789012:role/Developer"
_READY_WITHIN = 60.0  # seconds
_READY_WORKER = re.compile(r"^extproc_worker_ready\{.*\} 1\.0$", re.MULTILINE)
_MB = 1e6


def _configuration(directory: Path, workers: int) -> tuple[Path, int]:
    """Write a configuration with a rule in CEL and keys from a file; return it and the admin port."""
    grpc, admin = free_ports(2)
    keys = directory / "jwks.json"
    keys.write_text(json.dumps({"keys": [_KEY]}), encoding="ascii")
    settings = {
        "listen": {"grpc": f"127.0.0.1:{grpc}", "admin": f"127.0.0.1:{admin}"},
        "resource": {"url": "https://mcp.example/mcp"},
        "issuers": [
            {
                "issuer": "https://idp.example",
                "audiences": ["https://mcp.example/mcp"],
                "jwks_file": str(keys),
            }
        ],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "role_mappings": [
            {"name": "developers", "matcher": '"developers" in claims.groups', "role_arn": _ROLE}
        ],
        "drain_delay_seconds": 0,
    }
    path = directory / f"extproc-{workers}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="ascii")
    return path, admin


_KEY = {
    "kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}  # fmt: skip
"""The public key of RFC 7517, appendix A.1 and RFC 7515, appendix A.3."""


@contextlib.contextmanager
def _serving(directory: Path, workers: int) -> Iterator[psutil.Process]:
    config, admin = _configuration(directory, workers)
    command = [sys.executable, "-m", "extproc", "serve", "--config", str(config), "--workers", str(workers)]
    # Authorities of one's own are read at the start, those of the machine with the first call of STS.
    environment = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    with (directory / "log").open("ab") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        _wait_ready(admin, server, workers)
        yield psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def _wait_ready(admin: int, server: subprocess.Popen[bytes], workers: int) -> None:
    until = time.monotonic() + _READY_WITHIN
    page = f"http://127.0.0.1:{admin}/{'readyz' if workers == 1 else 'metrics'}"
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError):  # such as a 503, or nothing that listens yet
            text = urllib.request.urlopen(page, timeout=5).read().decode()
            if workers == 1 or len(_READY_WORKER.findall(text)) == workers:
                return
        time.sleep(0.05)
    raise RuntimeError("the server did not become ready")


def start(directory: Path, workers: int) -> dict[str, float]:
    """Return seconds of processor time and megabytes of one server."""
    with _serving(directory, workers) as server:
        processes = [server, *server.children(recursive=True)]
        times = [process.cpu_times() for process in processes]
        cpu = sum(each.user + each.system for each in times)
        resident = sum(process.memory_info().rss for process in processes)
        together = _together([process.memory_maps(grouped=True) for process in processes])
    return {"cpu": cpu, "rss": resident / _MB, "together": together / _MB}


def _together(processes: list[list[Any]]) -> float:
    """Return the bytes that related processes take.

    The kernel divides pages among all that map them (``Pss``), and of files these may be strangers. So of a
    file the pages that are not private count once. Other pages only related processes share.
    """
    found, files = 0.0, {}
    for each in itertools.chain(*processes):
        if not each.path.startswith("/"):
            found += each.pss
            continue
        found += each.private_dirty
        files[each.path] = max(files.get(each.path, 0), each.rss - each.private_dirty)
    return found + sum(files.values())


def version() -> float:
    """Return the seconds of processor time of ``extproc --version``."""
    before = _children()
    program = Path(sys.executable).with_name("extproc")
    subprocess.run([str(program), "--version"], check=True, stdout=subprocess.DEVNULL)
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(rounds: int, workers: tuple[int, ...]) -> dict[str, Any]:
    """Return the least of each figure: whatever else the machine does only adds to it."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(rounds):
            found.setdefault("--version", []).append({"cpu": version()})
            for count in workers:
                found.setdefault(f"{count} workers", []).append(start(Path(name), count))
    return {
        name: {kind: min(each[kind] for each in runs) for kind in runs[0]} for name, runs in found.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    for name, row in measure(given.rounds, tuple(given.workers)).items():
        print(f"{name:>12}: " + ", ".join(f"{kind} {value:.3g}" for kind, value in row.items()))


if __name__ == "__main__":
    main()
