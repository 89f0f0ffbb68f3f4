"""A client's document over real HTTPS, from the address that was checked and under the name that was asked for."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from extproc.demo.idp_documents import ClientDocuments
from extproc.demo.idp_errors import OAuthError
from support.certificates import Authority, dns


class Handler(BaseHTTPRequestHandler):
    """Serves a document for whatever URL it is asked for."""

    def do_GET(self):
        self.server.hosts.append(self.headers["host"])
        url = f"https://{self.headers['host']}{self.path}"
        body = json.dumps({"client_id": url, "redirect_uris": ["http://localhost/callback"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # a client that does not trust us goes without a word


@pytest.fixture
def server(tmp_path, monkeypatch):
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    pair = authority.issue("localhost", dns("localhost"))  # not for the address: only the name proves it
    server = Quiet(("127.0.0.1", 0), Handler)
    server.hosts = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _url(server, host="localhost"):
    return f"https://{host}:{server.server_port}/client.json"


async def test_a_provider_on_this_machine_fetches_from_this_machine(server):
    document = await ClientDocuments(allow_loopback=True).fetch(_url(server))
    assert document["client_id"] == _url(server)
    assert server.hosts == [f"localhost:{server.server_port}"]


async def test_the_certificate_must_be_for_the_name(server):
    with pytest.raises(OAuthError, match="cannot be fetched"):
        await ClientDocuments(allow_loopback=True).fetch(_url(server, "127.0.0.1"))
    assert server.hosts == []


async def test_an_authority_that_is_not_trusted_is_refused(server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(OAuthError, match="cannot be fetched"):
        await ClientDocuments(allow_loopback=True).fetch(_url(server))
    assert server.hosts == []


async def test_a_provider_elsewhere_does_not_even_connect(server):
    for host in ("localhost", "127.0.0.1"):
        with pytest.raises(OAuthError, match="not a public one"):
            await ClientDocuments(allow_loopback=False).fetch(_url(server, host))
    assert server.hosts == []


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "10.0.0.1:8443", "[fe80::1]"]
)
async def test_private_networks_are_never_asked(host):
    with pytest.raises(OAuthError, match="not a public one"):
        await ClientDocuments(allow_loopback=True).fetch(f"https://{host}/x")


async def test_a_host_that_nobody_knows_is_a_refusal():
    with pytest.raises(OAuthError, match="cannot be fetched"):
        await ClientDocuments(allow_loopback=True).fetch(f"https://{'x' * 64}.invalid/x")
