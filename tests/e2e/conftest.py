"""The whole stack with the real Envoy, once for a test session, on free loopback ports."""

import contextlib
import subprocess
import time

import pytest
import urllib3

from extproc.demo.stack import Stack, find_program, free_ports


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory):
    # Session scope also means: started by the main thread, which outlives every test. Envoy
    # gets SIGTERM when the thread that started it ends.
    with Stack(tmp_path_factory.mktemp("stack"), adjust=_with_more_targets) as stack:
        yield stack


def _with_more_targets(text):
    """The same upstream under a service name that it refuses, and with a default region."""
    first = "targets:\n"
    endpoint = text.split("endpoint_url: ")[1].split("\n")[0]
    wrong = (
        "- name: refused\n  host: aws-mcp.us-east-1.api.aws\n  service: other\n  prefix: /refused\n"
        f"  endpoint_url: {endpoint}\n"
    )
    regional = (
        "- name: regional\n  host: aws-mcp.us-east-1.api.aws\n  prefix: /regional\n"
        f"  default_aws_region: eu-central-1\n  endpoint_url: {endpoint}\n"
    )
    return text.replace(first, first + wrong + regional)


@pytest.fixture
def stack(shared_stack):
    """The shared stack with its records cleared and no faults."""
    shared_stack.control("sts", "reset", {})
    shared_stack.control("mcp", "reset", {})
    yield shared_stack
    shared_stack.control("sts", "faults", {"mode": None})


@pytest.fixture
def own_stack(tmp_path):
    """A stack that a test may break."""
    with Stack(tmp_path) as stack:
        yield stack


@pytest.fixture
def another_envoy(shared_stack, tmp_path):
    """Start a further Envoy before the same stack, with its configuration changed; returns its base URL."""
    with contextlib.ExitStack() as cleanup:

        def start(change):
            at = shared_stack.addresses
            port, admin = free_ports(2)
            text = (shared_stack.directory / "envoy.yaml").read_text()
            for old, new in ((at.envoy, port), (at.envoy_admin, admin)):
                text = text.replace(f"port_value: {old.rpartition(':')[2]}\n", f"port_value: {new}\n")
            changed = change(text)
            assert changed != text
            path = tmp_path / f"envoy-{port}.yaml"
            path.write_text(changed)
            command = [
                find_program("envoy"),
                "-c",
                str(path),
                "--disable-hot-restart",
                "-l",
                "warning",
                "--concurrency",
                "1",
            ]
            log = cleanup.enter_context((tmp_path / f"envoy-{port}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log)
            cleanup.callback(process.wait)
            cleanup.callback(process.terminate)
            for _ in range(200):
                with contextlib.suppress(urllib3.exceptions.HTTPError):
                    if shared_stack.http.request("GET", f"http://127.0.0.1:{admin}/ready").status == 200:
                        return f"http://127.0.0.1:{port}"
                time.sleep(0.05)
            raise AssertionError((tmp_path / f"envoy-{port}.log").read_text())

        yield start
