"""``extproc serve`` with TLS: it does not start without its files, and its metrics tell of them."""

import contextlib
import time

import pytest
import urllib3
import yaml

from extproc.demo.ports import free_ports
from support import forked
from support.certificates import LOCAL, Authority


@pytest.fixture
def pair(tmp_path):
    return Authority(tmp_path).issue("server", *LOCAL)


@pytest.fixture
def serve(tmp_path, pair):
    grpc_port, admin_port = free_ports(2)
    document = {
        "listen": {
            "grpc": f"127.0.0.1:{grpc_port}",
            "admin": f"127.0.0.1:{admin_port}",
            "tls": {"certificate": str(pair.certificate), "private_key": str(pair.key)},
        },
        "resource": {"url": "https://mcp.example/mcp"},
        "issuers": [{"issuer": "http://127.0.0.1:1", "audiences": ["a"]}],
        "targets": [{"name": "aws-mcp", "host": "aws-mcp.us-east-1.api.aws"}],
        "fallback_role_arn": "arn:aws:iam::123456789012:role/R",
    }
    (tmp_path / "extproc.yaml").write_text(yaml.safe_dump(document))
    command = ["-m", "extproc", "serve", "--config", str(tmp_path / "extproc.yaml")]
    with contextlib.ExitStack() as cleanup:

        def start():
            process = forked.Process(command, tmp_path / "log")
            cleanup.callback(process.wait)
            cleanup.callback(process.kill)
            return process, f"http://127.0.0.1:{admin_port}/metrics"

        yield start


def test_without_its_key_it_does_not_start_and_names_the_file(serve, pair, tmp_path):
    pair.key.unlink()
    process, _ = serve()
    assert process.wait(60) == 1
    assert f"extproc: {pair.key}: No such file or directory" in (tmp_path / "log").read_text()


def test_metrics_tell_the_end_of_the_certificate_and_of_broken_files(serve, pair):
    process, url = serve()

    def metrics():
        text = urllib3.request("GET", url, retries=False, timeout=5).data.decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("extproc_certificate")]
        return {name: float(value) for name, _, value in lines}

    for _ in range(1000):
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            if "extproc_certificate_files_broken" in metrics():
                break
        assert process.poll() is None
        time.sleep(0.05)
    assert metrics()["extproc_certificate_files_broken"] == 0
    assert metrics()["extproc_certificate_expiry_timestamp_seconds"] > time.time()
    pair.key.write_text("broken")
    assert metrics()["extproc_certificate_files_broken"] == 1
