"""The stack as processes on free loopback ports: start, wait until ready, always stop."""

import contextlib
import dataclasses
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import urllib3

from extproc import config
from extproc.demo.ports import free_ports, is_taken
from extproc.demo.settings import Addresses, extproc_yaml, service_arguments
from extproc.envoyconf.bootstrap import render
from extproc.envoyconf.options import EnvoyOptions
from extproc.extras import how_to_install

SERVICES = ("idp", "sts", "mcp")
READY_WITHIN = 60.0  # seconds
STOPPED_WITHIN = 10.0
_POLL = 0.05


class StackError(RuntimeError):
    """A part did not start; the message names it, and quotes the end of its log."""


def find_program(name: str) -> str:
    """Return the path of a program in this Python environment, else in the PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise StackError(f"{name} is not installed: {how_to_install('demo')}")
    return found


class Stack:
    """The whole stack in one directory of configuration files and logs.

    Args:
        directory: for the files.
        progress: called with a line for each part that is ready.
        adjust: changes extproc's YAML settings before it starts.
        adjust_envoy: changes Envoy's configuration before it starts.
        workers: of extproc.
        envoy_options: for rendering Envoy's configuration.
        addresses: free ports by default.
        client_documents: as in ``IdpSettings``.
        console: where to serve the web console, ``HOST:PORT``; None for none.
    """

    def __init__(
        self,
        directory: Path,
        *,
        progress: Callable[[str], None] = lambda _line: None,
        adjust: Callable[[str], str] = lambda text: text,
        adjust_envoy: Callable[[str], str] = lambda text: text,
        workers: int = 1,
        envoy_options: EnvoyOptions | None = None,
        addresses: Addresses | None = None,
        client_documents: bool = True,
        console: str | None = None,
    ) -> None:
        self.console = console
        self.directory = directory
        self._progress = progress
        self._adjust = adjust
        self._adjust_envoy = adjust_envoy
        self._workers = workers
        self._envoy_options = envoy_options or EnvoyOptions()
        self.addresses = addresses or Addresses(*(f"127.0.0.1:{port}" for port in free_ports(7)))
        self._idp_options = () if client_documents else ("--no-cimd",)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.http = urllib3.PoolManager(retries=False, timeout=10.0, maxsize=8)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every part and wait until each is ready."""
        at = self.addresses
        self._check_ports(tuple(f.name for f in dataclasses.fields(at) if f.name != "host"))
        extproc_config = self.directory / "extproc.yaml"
        settings = extproc_yaml(
            at,
            audit=str(self.directory / "audit.log"),
            console=self.console,
            admin_socket=str(self.directory / "admin.sock"),
        )
        extproc_config.write_text(self._adjust(settings), encoding="utf-8")
        envoy_config = self.directory / "envoy.yaml"
        options = dataclasses.replace(self._envoy_options, listen=at.envoy, admin=at.envoy_admin)
        rendered = render(config.load(extproc_config), options)
        envoy_config.write_text(self._adjust_envoy(rendered), encoding="utf-8")
        self._start(SERVICES)
        self._start(("extproc", "envoy"))
        if self.console is not None:
            # By its name: it refuses requests for another host.
            port = self.console.rpartition(":")[2]
            self._wait("extproc", f"http://{at.host}:{port}/assets/icon.svg", shown="console")

    def start_services(self) -> None:
        """Start what the gateway stands between, without the gateway, and wait until each part is ready."""
        self._check_ports(SERVICES)
        self._start(SERVICES)

    def _start(self, parts: tuple[str, ...]) -> None:
        for name in parts:
            self.start_part(name)
        for name in parts:
            self.wait_ready(name)

    def start_part(self, name: str) -> None:
        """Start one part, without waiting for it."""
        with (self.directory / f"{name}.log").open("ab") as log:
            # The child stays in this process group: Ctrl-C reaches all parts.
            self.processes[name] = subprocess.Popen(
                self._command(name), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_ready(self, name: str) -> None:
        """Wait until a part reports that it is ready.

        Raises:
            StackError: it ended, or took longer than ``READY_WITHIN``.
        """
        self._wait(name, self._ready_url(name), shown=name)

    def _wait(self, name: str, url: str, *, shown: str) -> None:
        """Wait until a URL of a part answers; ``shown``: its name for people."""
        started = time.monotonic()
        while time.monotonic() - started < READY_WITHIN:
            if self.processes[name].poll() is not None:
                raise StackError(
                    f"{name} ended with {self.processes[name].returncode}:\n{self._log_end(name)}"
                )
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if self.http.request("GET", url, timeout=1.0).status == 200:  # noqa: PLR2004
                    self._progress(f"{shown} is ready at {url.split('/')[2]}")
                    return
            time.sleep(_POLL)
        raise StackError(f"{shown} was not ready within {READY_WITHIN} s:\n{self._log_end(name)}")

    def stop_part(self, name: str, *, with_signal: int = signal.SIGTERM) -> int:
        """Stop one part, wait for its end, and return its exit status."""
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)  # a stopped process cannot act on SIGTERM
            process.send_signal(with_signal)
        try:
            return process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def stop(self) -> None:
        """Stop all running parts. Envoy is first, so that no client sees the others end."""
        for name in reversed(list(self.processes)):
            self.stop_part(name)
        self.http.clear()

    def token(self, account: str, **parameters: str) -> str:
        """Return an access token of the identity provider for one of the demo accounts."""
        form = {"grant_type": "password", "username": account, "password": "demo", **parameters}
        answer = self.http.request(
            "POST", f"{self.addresses.issuer}/token", fields=form, encode_multipart=False
        )
        if answer.status != 200:  # noqa: PLR2004
            raise StackError(f"the identity provider answered {answer.status}: {answer.data!r}")
        return str(answer.json()["access_token"])

    def control(self, part: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call a part's ``/_control`` endpoint, with POST if there is a body."""
        url = f"http://{getattr(self.addresses, part)}/_control/{path}"
        answer = self.http.request("GET" if body is None else "POST", url, json=body)
        if answer.status >= 300:  # noqa: PLR2004
            raise StackError(f"{url} answered {answer.status}: {answer.data!r}")
        return answer.json()

    def _command(self, name: str) -> list[str]:
        if name == "extproc":
            settings = str(self.directory / "extproc.yaml")
            workers = str(self._workers)
            return [sys.executable, "-m", "extproc", "serve", "--config", settings, "--workers", workers]
        if name == "envoy":
            bootstrap = ["-c", str(self.directory / "envoy.yaml")]
            return [
                find_program("envoy"),
                *bootstrap,
                "--disable-hot-restart",
                "--log-level",
                "warning",
                "--concurrency",
                "1",
                "--file-flush-interval-msec",
                "200",  # the access log is read while Envoy runs
            ]
        options = self._idp_options if name == "idp" else ()
        return [sys.executable, *service_arguments(name, self.addresses), *options]

    def _check_ports(self, parts: tuple[str, ...]) -> None:
        """Raise an error that names all ports in use, before any part fails because of one of them."""
        taken = [
            f"{getattr(self.addresses, part)} ({part})"
            for part in parts
            if is_taken(getattr(self.addresses, part))
        ]
        if taken:
            raise StackError(f"already in use: {', '.join(taken)}; is another demo running?")

    def _ready_url(self, name: str) -> str:
        at = self.addresses
        if name == "extproc":
            return f"http://{at.extproc_admin}/readyz"
        if name == "envoy":
            return f"http://{at.envoy_admin}/ready"
        return f"http://{getattr(at, name)}/healthz"

    def _log_end(self, name: str) -> str:
        log = self.directory / f"{name}.log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""
