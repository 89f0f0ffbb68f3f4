"""Load on a listener: ``wrk`` where it is installed, else a generator of ours that says so."""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.stats import merged, percentile

_PATIENCE = 30.0  # seconds beyond a round until its generator counts as stuck
_FALLBACK_PROCESSES = 2

# Plays prepared requests, each written as its length on a line and then its bytes.
_LUA = """
local requests, at = {}, 0
local file = assert(io.open(os.getenv("BENCH_REQUESTS"), "rb"))
while true do
  local length = file:read("*l")
  if not length then break end
  requests[#requests + 1] = file:read(tonumber(length))
end
file:close()
request = function()
  at = at % #requests + 1
  return requests[at]
end
done = function(summary, latency, _)
  local errors = summary.errors
  local failures = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "failures": %d, "p50": %f, "p99": %f, "p999": %f}\\n',
    summary.requests, summary.duration / 1e6, failures,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One round as the clients saw it; latencies in microseconds, ``cpu`` of the generator in seconds."""

    requests: int
    seconds: float
    failures: int
    p50: float
    p99: float
    p999: float
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return self.requests / self.seconds


class Generator(Protocol):
    """Plays requests over keep-alive connections, each sent when the answer to the last has come."""

    name: str

    def run(self, port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Load:
        """One round against a loopback port."""
        ...


def http_request(
    *,
    path: str = "/mcp",
    token: str | None = None,
    body: bytes = b"",
    headers: Sequence[tuple[str, str]] = (),
) -> bytes:
    """A POST as an MCP client sends it, ready to be written to a socket."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: mcp.example",
        "accept: application/json, text/event-stream",
        "content-type: application/json",
        "mcp-protocol-version: 2025-11-25",
        "mcp-session-id: 0123456789abcdef0123456789abcdef",
        "user-agent: bench",
        *(f"{name}: {value}" for name, value in headers),
        f"content-length: {len(body)}",
    ]
    if token is not None:
        lines.append(f"authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def find_generator(*, prefer_own: bool = False) -> Generator:
    """``wrk`` if it is on the PATH, else ours."""
    wrk = shutil.which("wrk")
    return Fallback() if wrk is None or prefer_own else Wrk(wrk)


class Wrk:
    """https://github.com/wg/wrk, with one thread."""

    def __init__(self, program: str) -> None:
        self._program = program
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
        self.name = " ".join((said.stdout or said.stderr).split("\n", 1)[0].split()[:2])

    def run(self, port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Load:
        """One round; wrk measures whole seconds only."""
        whole = max(1, round(seconds))
        with tempfile.TemporaryDirectory() as directory:
            script, prepared = Path(directory, "play.lua"), Path(directory, "requests")
            script.write_text(_LUA, encoding="ascii")
            prepared.write_bytes(b"".join(b"%d\n" % len(request) + request for request in requests))
            before = _children_cpu()
            finished = subprocess.run(
                [self._program, "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", "10s", "-s", str(script),
                 f"http://127.0.0.1:{port}/"],
                env={"BENCH_REQUESTS": str(prepared)}, capture_output=True, text=True, check=True,
                timeout=whole + _PATIENCE,
            )  # fmt: skip
            cpu = _children_cpu() - before
        return Load(**json.loads(finished.stdout.rstrip().rsplit("\n", 1)[1]), cpu=cpu)


class Fallback:
    """``bench.fallback`` in several processes: slower than wrk, and always there."""

    name = f"bench.fallback ({_FALLBACK_PROCESSES} Python processes; wrk was not found)"

    def run(self, port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Load:
        """One round, the connections shared out to the processes."""
        shares = [len(range(at, connections, _FALLBACK_PROCESSES)) for at in range(_FALLBACK_PROCESSES)]
        with tempfile.TemporaryDirectory() as directory:
            prepared = Path(directory, "requests")
            prepared.write_bytes(b"".join(b"%d\n" % len(request) + request for request in requests))
            before = _children_cpu()
            command = [sys.executable, "-m", "bench.fallback", str(port), str(prepared), str(seconds)]
            workers = [
                subprocess.Popen([*command, str(share)], stdout=subprocess.PIPE) for share in shares if share
            ]
            try:
                said = [worker.communicate(timeout=seconds + _PATIENCE)[0] for worker in workers]
            finally:
                for worker in workers:
                    worker.kill()
                    worker.communicate()
            if any(worker.returncode for worker in workers):
                raise RuntimeError("a process of the load generator failed")
            cpu = _children_cpu() - before
        parts = [json.loads(part) for part in said]
        counts = merged({int(latency): n for latency, n in part["latencies"].items()} for part in parts)
        return Load(
            requests=counts.total(),
            seconds=max(part["seconds"] for part in parts),
            failures=sum(part["failures"] for part in parts),
            p50=percentile(counts, 0.5),
            p99=percentile(counts, 0.99),
            p999=percentile(counts, 0.999),
            cpu=cpu,
        )


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
