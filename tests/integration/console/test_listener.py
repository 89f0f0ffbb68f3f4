"""The console's listener over real sockets: TLS with client certificates, a Unix socket; and its process."""

import asyncio
import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
import stat
import sys

import pytest

from extproc import config
from extproc.console.listener import Listener
from extproc.console.process import build_web
from extproc.demo.ports import free_ports
from extproc.workers import side_process
from support.admin import SETTINGS, admin_service
from support.certificates import Authority, dns, uri
from support.console import LocalClient
from support.pipelines import Parts

OLGA = "spiffe://example.org/olga"


@contextlib.asynccontextmanager
async def serving(text):
    settings = config.parse(f"{SETTINGS}{text}\naudit: {{output: null}}\n")
    web = build_web(settings, LocalClient(admin_service(Parts())))
    listener = Listener(settings, web, on_new_authority=lambda: None)
    async with listener.serving():
        yield listener
    web.parts.api.close()


def tls_settings(port, server, authority, more=""):
    return f"""
listen: {{console: "127.0.0.1:{port}", admin_grpc: "unix:/run/a.sock"}}
console:
  url: https://127.0.0.1:{port}
  tls: {{certificate: {server.certificate}, private_key: {server.key}, client_ca: {authority},
    allowed_clients: ["{OLGA}"]}}
{more}"""


def fetch(port, context, path="/"):
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


def client_context(authority, pair=None):
    context = ssl.create_default_context(cafile=str(authority))
    context.check_hostname = False
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


async def test_certificates_on_the_list_look_and_no_others_get_in(tmp_path):
    ours, others = Authority(tmp_path), Authority(tmp_path, "other")
    server = ours.issue("server", dns("localhost"))
    (port,) = free_ports(1)
    async with serving(tls_settings(port, server, ours.certificate)):

        async def status(pair):
            return await asyncio.to_thread(fetch, port, client_context(ours.certificate, pair))

        code, headers, body = await status(ours.issue("olga", uri(OLGA)))
        assert (code, "Overview" in body, OLGA in body) == (200, True, True)
        assert headers["strict-transport-security"]
        cookie = headers["set-cookie"]
        assert cookie.startswith("__Host-extproc-console=")
        assert {part.strip() for part in cookie.split(";")[1:]} == {
            "HttpOnly",
            "Path=/",
            "SameSite=strict",
            "Secure",
        }
        assert (await status(ours.issue("eve", uri("spiffe://example.org/eve"))))[0] == 403
        for stranger in (None, others.issue("stranger", uri(OLGA))):
            with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
                await status(stranger)


async def test_with_oidc_too_a_browser_without_a_certificate_is_sent_to_log_in(tmp_path):
    ours = Authority(tmp_path)
    server = ours.issue("server", dns("localhost"))
    (port,) = free_ports(1)
    oidc = "  oidc: {client_id: c}\n  matcher: 'true'\n"
    async with serving(tls_settings(port, server, ours.certificate, oidc)):
        code, headers, _ = await asyncio.to_thread(fetch, port, client_context(ours.certificate))
        assert (code, headers["location"]) == (303, "/login?then=%2F")


async def test_a_unix_socket_is_for_its_owner_and_is_gone_afterwards(tmp_path):
    path = tmp_path / "console.sock"
    text = f"""
listen: {{console: "unix:{path}", admin_grpc: "unix:/run/a.sock"}}
console: {{socket_user: operator}}
"""

    def ask():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nhost: localhost:9466\r\nconnection: close\r\n\r\n")
            return b"".join(iter(lambda: client.recv(65536), b""))

    async with serving(text):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        answer = await asyncio.to_thread(ask)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"operator" in answer
    assert not path.exists()


RAW = {
    "two lengths": (
        "POST /revoke HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: 5\r\n\r\nabcde",
        [400],
    ),
    "an unknown coding": ("POST /revoke HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n", [400]),
    "two hosts": ("GET / HTTP/1.1\r\n{host}Host: evil.example\r\n\r\n", [400]),
    "no host": ("GET / HTTP/1.1\r\n\r\n", [400]),
    "no host, as in HTTP/1.0": ("GET / HTTP/1.0\r\n\r\n", [421]),
    "a space before the colon": ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", [400]),
    "NUL in a header": ("GET / HTTP/1.1\r\n{host}X: a\0b\r\n\r\n", [400]),
    "another authority in the target": ("GET http://evil.example/login HTTP/1.1\r\n{host}{close}", [303]),
    "a request within another": (
        (
            "POST /revoke HTTP/1.1\r\n{host}Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
            "0\r\n\r\nGET /sessions HTTP/1.1\r\nHost: evil.example\r\n\r\n"
        ),
        [403, 421],
    ),
    "another name in the second request": (
        "GET /assets/icon.svg HTTP/1.1\r\n{host}\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n{close}",
        [200, 421],
    ),
    "a websocket": (
        (
            "GET /events/decisions HTTP/1.1\r\n{host}Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{upgrade}"
        ),
        [303],
    ),
    "HTTP/2 in clear text": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [421, 400]),
}


async def test_no_bytes_are_two_requests_or_a_request_under_another_name():
    (port,) = free_ports(1)
    text = f"""
listen: {{console: "127.0.0.1:{port}", admin_grpc: "unix:/run/a.sock"}}
console: {{oidc: {{client_id: c}}, matcher: "true"}}
"""

    def ask(request):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(request.encode())
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                return b"".join(iter(lambda: client.recv(65536), b""))
        return b""

    async with serving(text):
        for name, (request, expected) in RAW.items():
            filled = request.replace("{host}", f"Host: 127.0.0.1:{port}\r\n")
            filled = filled.replace("{close}", "Connection: close\r\n\r\n")
            filled = filled.replace("{upgrade}", "Connection: Upgrade\r\n\r\n")
            answer = await asyncio.to_thread(ask, filled)
            assert [int(code) for code in re.findall(rb"HTTP/1.1 (\d+)", answer)] == expected, name
            assert b"evil.example" not in answer, name
            assert b"101 " not in answer, name


async def test_an_address_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = f"""
listen: {{console: "127.0.0.1:{port}", admin_grpc: "unix:/run/a.sock"}}
console: {{oidc: {{client_id: c}}, matcher: "true"}}
"""
        with pytest.raises(OSError, match=rf"listen.console 127.0.0.1:{port}"):
            async with serving(text):
                pass


async def ended(pid):
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        await asyncio.sleep(0.05)
    return False


async def first_line(path, count=1):
    for _ in range(200):
        if path.exists() and len(lines := path.read_text().splitlines()) >= count:
            return int(lines[count - 1])
        await asyncio.sleep(0.05)
    raise AssertionError("the process has not started")


async def test_a_process_beside_the_server_is_restarted_and_ends_with_it(tmp_path):
    pids = tmp_path / "pids"
    code = f"import os, time; open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n'); time.sleep(60)"
    async with side_process.running("test", [sys.executable, "-c", code]):
        first = await first_line(pids)
        os.kill(first, signal.SIGKILL)
        second = await first_line(pids, 2)
        assert second != first
    assert await ended(second)


async def test_without_a_command_nothing_runs():
    async with side_process.running("test", None):
        pass
