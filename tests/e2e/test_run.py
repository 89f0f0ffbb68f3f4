"""``extproc run``: the server and a real Envoy in one command, before the demo's identity provider, STS and MCP server."""

import contextlib
import signal
import time

import pytest
import urllib3
import yaml

from extproc.demo.ports import free_ports
from extproc.demo.settings import extproc_yaml
from support import forked

PATIENCE = 60.0  # seconds


class Running:
    """The command and what it writes."""

    def __init__(self, directory, stack, *options, **more):
        self.ports = [f"127.0.0.1:{port}" for port in free_ports(4)]
        grpc, metrics, self.envoy, self.admin = self.ports
        document = yaml.safe_load(extproc_yaml(stack.addresses))
        document["listen"] = {"grpc": grpc, "admin": metrics}
        document["resource"] = {"url": f"http://{self.envoy}/mcp"}
        document["drain_delay_seconds"] = 0
        document.update(more)
        self.path = directory / "extproc.yaml"
        self.path.write_text(yaml.safe_dump(document))
        self.log = directory / "run.log"
        command = ["-m", "extproc", "run", "--config", str(self.path), "--admin", self.admin]
        self.process = forked.Process([*command, *options], self.log)

    def wait_for(self, text):
        began = time.monotonic()
        while text not in (log := self.log.read_text()):
            assert time.monotonic() - began < PATIENCE, log
            assert self.process.poll() is None, log
            time.sleep(0.05)
        return log


@contextlib.contextmanager
def running(directory, stack, *options, **more):
    started = Running(directory, stack, *options, **more)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


@pytest.fixture
def http():
    with urllib3.PoolManager(retries=False, timeout=30.0) as pool:
        yield pool


def test_a_signed_call_a_reload_and_an_end_that_waits_for_what_is_under_way(stack, tmp_path, http):
    token = {"authorization": f"Bearer {stack.token('demo-admin')}"}
    with running(tmp_path, stack) as run:
        shown = run.wait_for("| ready")
        for port in run.ports:
            assert port in shown
        answer = http.request("POST", f"http://{run.envoy}/echo", body=b"hello", headers=token)
        assert answer.status == 200, answer.data
        assert b"assumed-role/DemoAdmin" in answer.data
        assert (
            f"http://{run.envoy}/.well-known/oauth-protected-resource/mcp"
            in (http.request("POST", f"http://{run.envoy}/mcp", body=b"{}").headers["www-authenticate"])
        )

        changed = yaml.safe_load(run.path.read_text())
        changed["role_mappings"][0]["role_arn"] += "Two"
        changed["targets"][0]["default_aws_region"] = "eu-west-1"
        changed["limits"] = {"request_headers": 200}
        run.path.write_text(yaml.safe_dump(changed))
        run.process.send_signal(signal.SIGHUP)
        run.wait_for("Envoy's configuration would be another one now")
        run.wait_for('"event": "config_reloaded"')

        events = f"http://{run.envoy}/sse?n=6&delay=0.3"
        developer = {"authorization": f"Bearer {stack.token('demo-developer')}"}
        stream = http.request("GET", events, headers=developer, preload_content=False)
        parts = stream.stream(64)
        begun = next(parts)
        run.process.send_signal(signal.SIGTERM)
        run.wait_for("Envoy takes no new connections")
        rest = b"".join(parts)
        assert (begun + rest).count(b"data:") == 6
        assert run.process.wait(PATIENCE) == 0
    log = run.log.read_text()
    assert log.index("envoy   | ") < log.index('"event": "draining"') < log.index("run     | stopped")
    assert '"decision":"allow"' in log  # the audit log


def test_an_envoy_that_refuses_its_configuration_stops_everything_and_its_reason_is_shown(stack, tmp_path):
    absent = str(tmp_path / "absent.pem")
    with running(tmp_path, stack, "--tls-cert", absent, "--tls-key", absent) as run:
        run.process.wait(PATIENCE)
    log = run.log.read_text()
    assert run.process.returncode == 1, log
    assert "before it was ready, envoy ended with exit status 1" in log
    assert "absent.pem" in log
    assert '"event": "stopped"' in log
