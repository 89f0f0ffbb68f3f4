"""Everything that a run through Envoy needs, as processes on loopback, and the contenders in it."""

import contextlib
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3
import yaml

from bench import envoys
from bench.identity import AUDIENCE, IdentityProvider
from bench.load import http_request
from bench.processes import Processes
from extproc import config
from extproc.demo.ports import free_ports
from extproc.demo.settings import DEVELOPER_ROLE, SIGNING_HOST
from extproc.demo.stack import find_program
from extproc.grpc_server.completion_queue import internals

_CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"%s"}}}'

UNLIMITED = {"max_connections": 100_000, "max_connections_per_subject": 100_000}
"""Of a target: the quota of its service would have one user's load wait, which is not what is measured."""

BODY = _CALL % (b"x" * (152 - len(_CALL)))
"""150 bytes: a small tool call."""

ENVOY_ALONE, NATIVE, UNCACHED = "Envoy alone", "aws_request_signing", "exchange per request"
GO_NOOP = "no-op, Go"
"""A compiled server that does nothing, where Go is there to build it: the fairest transport to compare with."""
MCP = "mcp"
"""The listener whose upstream is the demo's MCP server, behind the default engine."""


def engines() -> list[str]:
    """The server's engines that run here, the default one first."""
    return ["aio"] if internals.missing() else ["completion_queue", "aio"]


def noop(engine: str) -> str:
    """The contender that does nothing on an engine."""
    return f"no-op, {engine}"


def full(engine: str) -> str:
    """The contender that does everything on an engine."""
    return f"extproc, {engine}"


@dataclass(frozen=True, slots=True)
class Contender:
    """One listener of the measured Envoy."""

    name: str
    port: int
    signs: bool
    process: str | None  # of the server behind the filter, if there is one

    @property
    def takes_tokens(self) -> bool:
        """Envoy's own filter knows no tokens: its clients send none."""
        return self.name != NATIVE


class World:
    """What runs: contenders by name, users' tokens, and the parts' control endpoints."""

    def __init__(
        self,
        processes: Processes,
        provider: IdentityProvider,
        contenders: Iterable[Contender],
        *,
        sts: str,
        checked: str,
    ) -> None:
        self.processes = processes
        self.provider = provider
        self.contenders = {contender.name: contender for contender in contenders}
        self.sts = sts
        self.checked = checked
        self.http = urllib3.PoolManager(retries=False, timeout=30.0)
        self._users = 0

    def start_upstream(self, name: str, address: str) -> None:
        """One more of the demo's upstream, for clients that call it by its address."""
        service = ("extproc.demo.service", "mcp", "--listen", address, "--host", address)
        self.processes.start_module(name, *service, "--sts-url", f"http://{self.sts}")
        self.processes.wait_ready(name, f"http://{address}/healthz")

    def tokens(self, count: int) -> list[str]:
        """Tokens of users that nobody has seen yet."""
        first, self._users = self._users, self._users + count
        return [self.provider.token(f"user{n}") for n in range(first, self._users)]

    def port(self, name: str) -> int:
        """The port of a contender's listener."""
        return self.contenders[name].port

    def requests(self, contender: Contender, tokens: list[str], body: bytes = BODY) -> list[bytes]:
        """What the contender's clients send, one for each user."""
        if contender.takes_tokens:
            return [http_request(token=token, body=body) for token in tokens]
        return [http_request(body=body)]

    def warm(self, contender: Contender, tokens: list[str]) -> None:
        """Open every user's session."""
        if contender.name.startswith("extproc"):
            for token in tokens:
                self._post(contender, envoys.SIGNED_PATH, token)

    def check_signature(self, contender: Contender, token: str) -> None:
        """Send a request to the upstream that verifies signatures.

        Raises:
            AssertionError: it did not accept it.
        """
        if contender.signs:
            self._post(contender, envoys.CHECKED_PATH, token if contender.takes_tokens else None)

    def _post(self, contender: Contender, path: str, token: str | None) -> None:
        headers = {"content-type": "application/json", "host": "mcp.example"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        url = f"http://127.0.0.1:{contender.port}{path}"
        answer = self.http.request("POST", url, body=BODY, headers=headers)
        assert answer.status == 200, f"{contender.name}: {path} answered {answer.status}: {answer.data!r}"

    def sts_delay(self, seconds: float) -> None:
        """Let every STS call take so much longer, and count from zero."""
        calls = -1
        while calls != (calls := self.exchanges()):  # those whose clients have left already
            time.sleep(0.3)
        self.http.request("POST", f"http://{self.sts}/_control/reset")
        self.http.request("POST", f"http://{self.sts}/_control/faults", json={"delay": seconds})

    def exchanges(self) -> int:
        """STS calls since ``sts_delay``."""
        return int(self.http.request("GET", f"http://{self.sts}/_control/stats").json()["calls"])


@contextmanager
def running_world(directory: Path, go_noop: Path | None = None) -> Iterator[World]:
    """Start everything, and stop everything at the end. ``go_noop`` is the program behind ``GO_NOOP``."""
    ports = iter(free_ports(40))
    with contextlib.ExitStack() as cleanup:
        provider = cleanup.enter_context(IdentityProvider())
        processes = cleanup.enter_context(Processes(directory))
        sts, checked = (f"127.0.0.1:{next(ports)}" for _ in range(2))
        start_emulators(processes, provider, sts=sts, checked=checked)
        servers: dict[str, tuple[str, str]] = {}  # contender: process and gRPC address
        settings = directory / "extproc.yaml"
        if go_noop is not None:
            address = f"127.0.0.1:{next(ports)}"
            processes.start(GO_NOOP, [str(go_noop), address])
            servers[GO_NOOP] = (GO_NOOP, address)
        for engine in engines():
            address = f"127.0.0.1:{next(ports)}"
            processes.start_module(noop(engine), "bench.servers", "noop", engine, address)
            servers[noop(engine)] = (noop(engine), address)
        for name in (*map(full, engines()), UNCACHED):
            address, admin = (f"127.0.0.1:{next(ports)}" for _ in range(2))
            settings = directory / f"{name}.yaml"
            engine = name.partition(", ")[2] or engines()[0]
            settings.write_text(extproc_yaml(provider, grpc=address, admin=admin, sts=sts, engine=engine))
            if name == UNCACHED:
                processes.start_module(name, "bench.servers", "uncached", engine, str(settings))
            else:
                processes.start_module(name, "extproc", "serve", "--config", str(settings))
            processes.wait_ready(name, f"http://{admin}/readyz")
            servers[name] = (name, address)
        signed_port, open_port, admin_port = (next(ports) for _ in range(3))
        credentials = static_credentials(sts, provider.token("static"))
        listeners = [envoys.Listener(ENVOY_ALONE, next(ports), open_port)]
        listeners += [
            envoys.Listener(
                name, next(ports), open_port if name.startswith("no-op") else signed_port, extproc=address
            )
            for name, (_, address) in servers.items()
        ]
        listeners.append(envoys.Listener(NATIVE, next(ports), signed_port, native=credentials))
        checked_port, whole = int(checked.rpartition(":")[2]), servers[full(engines()[0])][1]
        listeners.append(envoys.Listener(MCP, next(ports), checked_port, extproc=whole))
        start_envoy(
            processes, directory, "upstream", envoys.upstream(signed_port=signed_port, open_port=open_port)
        )
        processes.wait_ready("upstream", f"http://127.0.0.1:{open_port}/")
        front = envoys.front(config.load(settings), listeners, admin_port=admin_port, checked=checked)
        start_envoy(processes, directory, "envoy", front)
        processes.wait_ready("envoy", f"http://127.0.0.1:{admin_port}/ready")
        contenders = [
            Contender(
                listener.name,
                listener.port,
                signs=listener.upstream_port == signed_port,
                process=servers.get(listener.name, (None, ""))[0],
            )
            for listener in listeners
        ]
        world = World(processes, provider, contenders, sts=sts, checked=checked)
        cleanup.callback(world.http.clear)
        yield world


def extproc_yaml(provider: IdentityProvider, *, grpc: str, admin: str, sts: str, engine: str) -> str:
    """The product's configuration: defaults, but for addresses and room for all users."""
    settings = {
        "listen": {"grpc": grpc, "admin": admin, "engine": engine},
        "resource": {"url": AUDIENCE},
        "issuers": [{"issuer": provider.issuer, "audiences": [AUDIENCE], "allow_insecure_http": True}],
        "targets": [
            {"name": "aws-mcp", "host": SIGNING_HOST, "endpoint_url": "http://127.0.0.1:1", **UNLIMITED}
        ],
        "sts": {"endpoint_url": f"http://{sts}"},
        "role_mappings": [
            {
                "name": "developers",
                "matcher": '"developers" in claims.groups && !has(claims.act)',
                "role_arn": DEVELOPER_ROLE,
            }
        ],
        "limits": {"sessions": 20_000},
        "drain_delay_seconds": 0,
        "drain_seconds": 1,
    }
    return yaml.safe_dump(settings, sort_keys=False)


def start_emulators(processes: Processes, provider: IdentityProvider, *, sts: str, checked: str) -> None:
    """Start STS, and the upstream that verifies signatures."""
    tokens = ("--issuer", provider.issuer, "--audience", AUDIENCE)
    service = "extproc.demo.service"
    processes.start_module("sts", service, "sts", "--listen", sts, *tokens, "--role", f"{DEVELOPER_ROLE}=*")
    processes.start_module(
        "checked upstream",
        service,
        "mcp",
        "--listen",
        checked,
        "--sts-url",
        f"http://{sts}",
        "--host",
        SIGNING_HOST,
    )
    processes.wait_ready("sts", f"http://{sts}/healthz")
    processes.wait_ready("checked upstream", f"http://{checked}/healthz")


def start_envoy(processes: Processes, directory: Path, name: str, bootstrap: str) -> None:
    """Start an Envoy with one worker."""
    path = directory / f"{name}.yaml"
    path.write_text(bootstrap, encoding="utf-8")
    command = [find_program("envoy"), "-c", str(path), "--disable-hot-restart", "--log-level", "error"]
    processes.start(name, [*command, "--concurrency", "1"])


def static_credentials(sts: str, token: str) -> dict[str, str]:
    """Credentials that the emulator knows, for whoever has to be given some."""
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": DEVELOPER_ROLE,
        "RoleSessionName": "static",
        "WebIdentityToken": token,
        "DurationSeconds": "3600",
    }
    with urllib3.PoolManager() as http:
        answer = http.request("POST", f"http://{sts}/", fields=form, encode_multipart=False)
    assert answer.status == 200, answer.data
    found = {
        element.tag.rpartition("}")[2]: element.text or "" for element in ET.fromstring(answer.data).iter()
    }
    return {
        "access_key_id": found["AccessKeyId"],
        "secret_access_key": found["SecretAccessKey"],
        "session_token": found["SessionToken"],
    }
