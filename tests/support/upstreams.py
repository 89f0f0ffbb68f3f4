"""A further verifying upstream behind a stack's gateway: another service than the MCP server."""

import contextlib
import subprocess
import sys
import time

import urllib3

from extproc.demo.ports import free_ports
from support.stacks import Stack


class Upstream:
    """What the upstream of a service saw, under the stack's gateway at ``prefix``."""

    def __init__(self, stack, address, prefix):
        self.stack = stack
        self.prefix = prefix
        self._address = address

    def control(self, path, body=None):
        url = f"http://{self._address}/_control/{path}"
        return self.stack.http.request("GET" if body is None else "POST", url, json=body).json()

    @property
    def seen(self):
        """The requests since the last reset, refused signatures included."""
        return self.control("requests")


@contextlib.contextmanager
def stack_with(
    directory, service, *, host, prefix, settings="", arguments=(), adjust_further=lambda text: text
):
    """A stack with one more target for ``service`` at ``prefix``; ``settings``: further lines of the target."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    target = (
        f"- name: {service}\n  host: {host}\n  region: us-east-1\n  service: {service}\n  prefix: {prefix}\n"
        f"  endpoint_url: http://{address}\n{settings}"
    )
    adjust = lambda text: adjust_further(text.replace("targets:\n", f"targets:\n{target}"))  # noqa: E731
    with Stack(directory, adjust=adjust) as stack, contextlib.ExitStack() as cleanup:
        command = [
            sys.executable, "-m", "extproc.demo.service", "mcp", "--listen", address, "--host", host,
            "--sts-url", f"http://{stack.addresses.sts}", "--service", service, *arguments,
        ]  # fmt: skip
        log = cleanup.enter_context((directory / "upstream.log").open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        cleanup.callback(process.wait)
        cleanup.callback(process.terminate)
        for _ in range(400):
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if stack.http.request("GET", f"http://{address}/healthz").status == 200:
                    break
            assert process.poll() is None
            time.sleep(0.05)
        yield Upstream(stack, address, prefix)
