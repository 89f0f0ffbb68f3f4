"""Fetches of metadata documents, whose URLs any client may choose."""

import asyncio
import json

import httpx2
import pytest

from extproc.demo import idp_documents
from extproc.demo.idp_documents import MAX_DOCUMENT, ClientDocuments, _fetchable, is_document_url
from extproc.demo.idp_errors import OAuthError
from support.tables import each_case

ID = "https://client.example/oauth/metadata.json"
DOCUMENT = {"client_id": ID, "redirect_uris": ["http://127.0.0.1/callback"]}


class Server:
    """A web server; counts its requests."""

    def __init__(self, content=None, *, status=200, headers=None):
        self.requests = []
        self._content = json.dumps(DOCUMENT).encode() if content is None else content
        self._status, self._headers = status, headers

    def documents(self):
        return ClientDocuments(allow_loopback=False, transport=httpx2.MockTransport(self._answer))

    def _answer(self, request):
        self.requests.append(request)
        return httpx2.Response(self._status, content=self._content, headers=self._headers)


@each_case(
    "url",
    [
        ID,
        "https://client.example:8443/x",
        "https://client.example/x?v=1",
        "https://client.example/x/",
        "https://[2001:db8::1]/x",
    ],
)
def test_a_client_id_may_be_an_https_url_with_a_path(url):
    assert is_document_url(url)


@each_case(
    "url",
    [
        "",
        "demo-client",
        "http://client.example/x",
        "HTTPS://client.example/x",
        "https://client.example",
        "https://client.example/",
        "https://client.example/a/../b",
        "https://client.example/./b",
        "https://client.example/a/%2e%2E/b",
        "https://client.example/x#y",
        "https://client.example/x#",
        "https://user@client.example/x",
        "https://user:secret@client.example/x",
        "https://client.example:port/x",
        "https:///x",
        "https://client.example/x y",
        "https://client.example/\nx",
        "https://cli\u00e9nt.example/x",
        "https://client.example/" + "x" * 1000,
    ],
)
def test_any_other_url_is_no_client_id(url):
    assert not is_document_url(url)


async def test_a_good_document_is_fetched_once():
    server = Server()
    documents = server.documents()
    assert await documents.fetch(ID) == DOCUMENT
    assert await documents.fetch(ID) == DOCUMENT
    assert [str(request.url) for request in server.requests] == [ID]


@each_case(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b"[" * 5000,
        b"\xff\xfe",
        json.dumps({**DOCUMENT, "client_id": ID + "/"}).encode(),
        json.dumps({**DOCUMENT, "client_secret": "x"}).encode(),
        json.dumps({**DOCUMENT, "client_secret_expires_at": 0}).encode(),
        json.dumps({**DOCUMENT, "x": "x" * MAX_DOCUMENT}).encode(),
    ],
)
async def test_a_bad_document_is_refused_and_not_remembered(content):
    server = Server(content)
    documents = server.documents()
    for _ in range(2):
        with pytest.raises(OAuthError, match="invalid_client"):
            await documents.fetch(ID)
    assert len(server.requests) == 2


async def test_a_document_that_comes_in_drops_is_not_waited_for_longer_than_any_other(monkeypatch):
    monkeypatch.setattr(idp_documents, "FETCH_TIMEOUT", 0.05)

    async def drops():
        while True:
            yield b" "
            await asyncio.sleep(0.01)  # sooner than the client's own limit, from one part to the next

    server = httpx2.MockTransport(lambda _request: httpx2.Response(200, content=drops()))
    with pytest.raises(OAuthError, match="cannot be fetched"):
        await ClientDocuments(allow_loopback=False, transport=server).fetch(ID)


@each_case("status", [201, 204, 301, 302, 307, 404, 500])
async def test_only_200_has_a_document_and_redirects_are_not_followed(status):
    server = Server(status=status, headers={"location": "https://other.example/x"})
    with pytest.raises(OAuthError, match=f"answered {status}"):
        await server.documents().fetch(ID)
    assert len(server.requests) == 1


@each_case(
    ("address", "elsewhere", "on_loopback"),
    [
        ("93.184.215.14", True, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("::ffff:10.0.0.1", False, False),
        ("10.0.0.1", False, False),
        ("172.16.0.1", False, False),
        ("192.168.1.1", False, False),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("fd00::1", False, False),
        ("100.64.0.1", False, False),
        ("0.0.0.0", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
    ],
)
def test_private_networks_are_never_asked_and_this_machine_only_by_itself(address, elsewhere, on_loopback):
    assert _fetchable(address, loopback=False) is elsewhere
    assert _fetchable(address, loopback=True) is on_loopback
