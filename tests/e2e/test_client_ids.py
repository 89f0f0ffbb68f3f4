"""Logins without registration, and logins that outlive their tokens, by the official SDKs."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
import yaml
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull

from extproc.connect.clients import CLIENTS
from extproc.connect.endpoint import Endpoint
from support import forked
from support.client_documents import serving_documents
from support.logins import REDIRECT, Browser, Memory, login
from support.node import FOLDER, node
from support.stacks import Stack

ROOT = Path(__file__).parents[2]
LIFETIME = 8  # seconds: a login and its first call take less


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    # The document has the address without a port, as those of native clients do.
    with serving_documents(tmp_path_factory.mktemp("documents"), ["http://127.0.0.1/callback"]) as server:
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory, documents):
    """A stack that takes no token after its end, and whose provider trusts the documents' server."""

    def adjust(text):
        settings = yaml.safe_load(text)
        settings["issuers"][0]["leeway"] = 0
        return yaml.safe_dump(settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", documents.authority)
        # The demo's own, not a forked one: its services have this environment.
        stack = Stack(tmp_path_factory.mktemp("stack"), adjust=adjust)
        with stack:
            yield stack


async def _whoami(url, auth, mode="auto"):
    async with (
        httpx2.AsyncClient(auth=auth, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        return (await client.call_tool("whoami", {})).content[0].text


def _hits(stack, path):
    return stack.control("idp", "stats")["hits"].get(path, 0)


@pytest.mark.parametrize("name", ["resource", "resource_alias"])
async def test_a_client_logs_in_at_either_name_of_this_machine(stack, name):
    url, browser = getattr(stack.addresses, name), Browser("demo-admin")
    assert '"DemoAdmin"' in await _whoami(url, login(url, browser, Memory()))
    assert browser.asked[0]["resource"] == url


async def test_a_client_described_by_a_document_logs_in_without_registration(stack, documents):
    url, browser, memory = stack.addresses.resource, Browser("demo-developer"), Memory()
    registered = _hits(stack, "/register")
    auth = login(url, browser, memory, client_metadata_url=documents.url())
    assert '"DemoDeveloper"' in await _whoami(url, auth)
    assert browser.asked[0]["client_id"] == memory.client.client_id == documents.url()
    assert memory.tokens.refresh_token
    assert documents.hosts == [f"localhost:{documents.server_port}"]
    assert _hits(stack, "/register") == registered


async def test_a_client_with_an_id_known_beforehand_logs_in_without_registration(stack):
    url, browser, memory = stack.addresses.resource, Browser("demo-developer"), Memory()
    memory.client = OAuthClientInformationFull(
        client_id="demo-client", redirect_uris=[REDIRECT], token_endpoint_auth_method="none"
    )
    registered = _hits(stack, "/register")
    assert '"DemoDeveloper"' in await _whoami(url, login(url, browser, memory))
    assert browser.asked[0]["client_id"] == "demo-client"
    assert _hits(stack, "/register") == registered


# In both modes the same request is repeated with another token.
@pytest.mark.parametrize("mode", ["2026-07-28", pytest.param("legacy", marks=pytest.mark.long)])
async def test_a_client_refreshes_by_itself_when_its_token_ends_and_calls_go_on(stack, mode):
    url, browser, memory = stack.addresses.resource, Browser("demo-admin"), Memory()
    stack.control("idp", "lifetime", {"seconds": LIFETIME})
    auth = login(url, browser, memory)
    try:
        async with (
            httpx2.AsyncClient(auth=auth, timeout=30) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            first = await client.call_tool("whoami", {})
            before = memory.tokens
            await _refused(url, before.access_token)
            while time.time() <= auth.context.token_expiry_time:  # noqa: ASYNC110 - a clock
                await asyncio.sleep(0.1)
            second = await client.call_tool("whoami", {})
    finally:
        stack.control("idp", "lifetime", {"seconds": 3600})
    assert '"DemoAdmin"' in first.content[0].text
    assert '"DemoAdmin"' in second.content[0].text
    assert len(browser.opened) == 1  # nobody was asked again
    assert memory.tokens.access_token != before.access_token
    # The refresh token was used up; a second use ends the login, the current one's too.
    for spent in (before.refresh_token, memory.tokens.refresh_token):
        form = {
            "grant_type": "refresh_token", "client_id": memory.client.client_id, "refresh_token": spent,
        }  # fmt: skip
        async with httpx2.AsyncClient() as http:
            answer = await http.post(f"{stack.addresses.issuer}/token", data=form)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def _refused(url, token):
    """Return when the gateway no longer takes a token."""
    headers = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        while (await http.post(url, content=b"{}")).status_code != 401:  # noqa: ASYNC110 - a clock elsewhere
            await asyncio.sleep(0.2)


def printed(directory, client, stack):
    """Return a file with what ``extproc connect`` prints for a client of the stack."""
    path = directory / {"python": "login.py", "typescript": "login.mjs"}[client]
    path.write_text(CLIENTS[client](Endpoint(stack.addresses.resource)))
    return path


def run_printed(directory, stack, account, *arguments):
    """Run the printed program, before a browser in which somebody has chosen an account."""
    browser = f"{sys.executable} -SP {ROOT / 'tests/support/browser.py'} {account} %s"
    path = str(printed(directory, "python", stack))
    program = f"import runpy; runpy.run_path({path!r}, run_name='__main__')"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BROWSER", browser)
        return forked.run(["-c", program, *arguments], timeout=120)


@pytest.mark.parametrize("options", [[], ["--client-id", "demo-client"], ["--client-metadata-url"]])
def test_the_printed_program_logs_in_by_the_browser(stack, documents, options, tmp_path):
    arguments = [stack.addresses.resource, "whoami", *options]
    if options == ["--client-metadata-url"]:
        arguments.append(documents.url())
    done = run_printed(tmp_path, stack, "demo-developer", *arguments)
    assert '"DemoDeveloper"' in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_the_printed_program_shows_why_somebody_is_refused_and_no_traceback(stack, tmp_path):
    done = run_printed(tmp_path, stack, "demo-guest")
    assert done.returncode == 1
    assert "Your account has no AWS role here for this request; ask " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def typescript(stack, tmp_path):
    """Run the example program for the TypeScript SDK; returns what it printed."""
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\nexec {sys.executable} -P {ROOT / "tests/support/browser.py"} demo-developer "$1"\n'
    )
    browser.chmod(0o755)
    program = node(at_least=20)
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    login = printed(tmp_path, "typescript", stack)

    def run(**environment):
        done = subprocess.run(
            [program, str(login), stack.addresses.resource, "whoami"],
            env={**os.environ, "BROWSER": str(browser), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.long
@pytest.mark.parametrize("known_by", ["registration", "id", "document"])
def test_the_typescript_sdk_logs_in(stack, documents, typescript, known_by):
    registered = _hits(stack, "/register")
    environment = {"id": {"CLIENT_ID": "demo-client"}, "document": {"CLIENT_METADATA_URL": documents.url()}}
    assert '"DemoDeveloper"' in typescript(**environment.get(known_by, {}))
    assert _hits(stack, "/register") - registered == (1 if known_by == "registration" else 0)


@pytest.mark.long
def test_the_typescript_sdk_refreshes_when_the_gateway_refuses_a_token_that_ended(stack, typescript):
    tokens, pages = _hits(stack, "/token"), _hits(stack, "/authorize")
    stack.control("idp", "lifetime", {"seconds": LIFETIME})
    try:
        printed = typescript(CALLS="2", PAUSE=str((LIFETIME + 1) * 1000))
    finally:
        stack.control("idp", "lifetime", {"seconds": 3600})
    assert printed.count('"DemoDeveloper"') == 2
    assert _hits(stack, "/token") - tokens == 2  # the code's, and the refresh
    assert _hits(stack, "/authorize") - pages == 2  # the page, and the choice on it
