"""``extproc health`` and grpcurl against a running process: ready, drained, gone."""

import json
import signal
import subprocess
import sys

import pytest

from extproc.demo.ports import free_ports
from extproc.demo.stack import find_program
from support import forked
from support.supervised import PATIENCE, serving, settings, until


@pytest.fixture(params=["tcp", "unix"])
def served(request, tmp_path):
    port, admin = free_ports(2)
    grpc = f"127.0.0.1:{port}" if request.param == "tcp" else f"unix:{tmp_path}/extproc.sock"
    path = settings(tmp_path, grpc=grpc, admin=f"127.0.0.1:{admin}", drain_delay_seconds=2)
    with serving(path, admin=f"127.0.0.1:{admin}", workers=1) as running:
        running.wait_ready()
        yield running, path, grpc


def health(*options):
    done = forked.run(["-m", "extproc", "health", *options], timeout=PATIENCE)
    return done.returncode, done.stdout


def test_the_probe_needs_nothing_but_an_interpreter():
    command = [sys.executable, "-m", "extproc", "health", "--address", "127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (1, "127.0.0.1:1 no answer: UNAVAILABLE\n")


def test_the_probe_succeeds_while_the_server_serves_and_fails_when_it_is_gone(served):
    running, path, grpc = served
    until(lambda: health("--config", str(path)) == (0, f"{grpc} SERVING\n"), "never served")
    assert health("--address", grpc) == (0, f"{grpc} SERVING\n")
    running.process.send_signal(signal.SIGTERM)
    until(lambda: health("--config", str(path))[0] == 1, "still served")
    assert running.process.wait(PATIENCE) == 0
    assert health("--config", str(path)) == (1, f"{grpc} no answer: UNAVAILABLE\n")


def test_grpcurl_watches_the_drain(served):
    running, path, grpc = served
    until(lambda: health("--config", str(path))[0] == 0, "never served")
    place = ["-unix", grpc.removeprefix("unix:")] if grpc.startswith("unix:") else [grpc]
    watch = subprocess.Popen(
        [find_program("grpcurl"), "-plaintext", *place, "grpc.health.v1.Health/Watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        first = "".join(watch.stdout.readline() for _ in range(3))
        assert json.loads(first) == {"status": "SERVING"}
        running.process.send_signal(signal.SIGTERM)
        told, _ = watch.communicate(timeout=PATIENCE)
        assert json.loads(told.split("}")[0] + "}") == {"status": "NOT_SERVING"}
        assert running.process.wait(PATIENCE) == 0
    finally:
        watch.kill()
        watch.wait()


def test_a_second_signal_ends_it_at_once(served):
    running, _, _ = served
    running.process.send_signal(signal.SIGTERM)
    until(lambda: running.get("/readyz")[0] == 503, "not draining")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(PATIENCE) == 0
