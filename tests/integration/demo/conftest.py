"""The three services on loopback ports, each in a thread, as ``extproc.demo.service`` would run them."""

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx2
import pytest
import uvicorn

from extproc.demo import idp, mcp_server, service, sts
from extproc.demo.ports import free_ports
from extproc.demo.sts_trust import TrustPolicy

AUDIENCE = "https://mcp.example/mcp"
ROLE = "arn:aws:iam::123456789012:role/DemoAdmin"


@dataclass(frozen=True)
class Stack:
    idp: str
    sts: str
    mcp: str

    def token(self, **form):
        form = {"grant_type": "password", "username": "demo-admin", "password": "demo", **form}
        return httpx2.post(f"{self.idp}/token", data=form, trust_env=False).json()["access_token"]


@contextmanager
def running(app, port, **options):
    server = uvicorn.Server(service.config(app, host="127.0.0.1", port=port, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server is too slow to start"
        time.sleep(0.01)
    yield
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def stack():
    ports = free_ports(3)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    trust = TrustPolicy(audiences=frozenset({AUDIENCE}), subjects=("*",))
    apps = [
        idp.create_app(idp.IdpSettings(issuer=urls[0], audience=AUDIENCE)),
        sts.create_app(sts.StsSettings(providers={urls[0]: frozenset({AUDIENCE})}, roles={ROLE: trust})),
        mcp_server.create_app(mcp_server.UpstreamSettings(sts_url=urls[1])),
    ]
    with ExitStack() as running_services:
        for index, (app, port) in enumerate(zip(apps, ports, strict=True)):
            running_services.enter_context(running(app, port, date_header=index != 1))
        yield Stack(*urls)
