"""Further Envoys before a stack that runs."""

import contextlib
import subprocess
import time

import urllib3

from extproc.demo.ports import free_ports
from extproc.demo.stack import find_program


@contextlib.contextmanager
def further_envoy(stack, directory, change):
    """An Envoy with the stack's configuration after ``change``, on ports of its own; its base URL."""
    at = stack.addresses
    port, admin = free_ports(2)
    text = (stack.directory / "envoy.yaml").read_text()
    for old, new in ((at.envoy, port), (at.envoy_admin, admin)):
        text = text.replace(f"port_value: {old.rpartition(':')[2]}\n", f"port_value: {new}\n")
    changed = change(text)
    assert changed != text
    path = directory / f"envoy-{port}.yaml"
    path.write_text(changed)
    command = [find_program("envoy"), "-c", str(path), "--disable-hot-restart", "-l", "warning"]
    with (directory / f"envoy-{port}.log").open("wb") as log:
        process = subprocess.Popen([*command, "--concurrency", "1"], stdout=log, stderr=log)
    try:
        _wait_ready(stack.http, f"http://127.0.0.1:{admin}/ready", directory / f"envoy-{port}.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_ready(http, url, log):
    for _ in range(200):
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            if http.request("GET", url).status == 200:
                return
        time.sleep(0.05)
    raise AssertionError(log.read_text())
