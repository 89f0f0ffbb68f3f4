"""What idle streams cost the server."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.world import World, engines, extproc_yaml
from extproc.demo.ports import free_ports


def idle_streams(count: int, world: World) -> list[dict[str, Any]]:
    """The memory of a server of its own on each engine, before and with ``count`` idle streams."""
    return [_on(engine, count, world) for engine in engines()]


def _on(engine: str, count: int, world: World) -> dict[str, Any]:
    processes = world.processes
    grpc, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
    name = f"idle, {engine}"
    with tempfile.TemporaryDirectory() as directory:
        settings = Path(directory, "extproc.yaml")
        settings.write_text(
            extproc_yaml(world.provider, grpc=grpc, admin=admin, sts=world.sts, engine=engine),
            encoding="utf-8",
        )
        processes.start_module(name, "extproc", "serve", "--config", str(settings))
        processes.wait_ready(name, f"http://{admin}/readyz")
    before = processes.rss(name)
    command = [sys.executable, "-m", "bench.idle", grpc, str(count), world.tokens(1)[0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        try:
            if client.stdout is None or b"are open" not in client.stdout.readline():
                raise RuntimeError("the idle streams could not be opened")
            time.sleep(1)
            during = processes.rss(name)
        finally:
            client.kill()
    processes.stop(name)
    return {"engine": engine, "streams": count, "before": before, "during": during}
